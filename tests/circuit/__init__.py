"""Tests of the room `circuit`."""
