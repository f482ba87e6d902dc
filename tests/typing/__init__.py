"""Calls that are only type-checked."""
