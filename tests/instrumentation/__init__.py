"""Tests of the room `instrumentation`."""
