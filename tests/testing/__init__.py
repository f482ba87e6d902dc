"""Tests of the room `testing`, and of the pytest plugin."""
