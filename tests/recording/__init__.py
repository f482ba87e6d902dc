"""Tests of the room `recording`."""
