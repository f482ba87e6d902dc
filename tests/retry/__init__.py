"""Tests of the room `retry`."""
