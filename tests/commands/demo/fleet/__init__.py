"""Tests of the demo of a fleet."""
