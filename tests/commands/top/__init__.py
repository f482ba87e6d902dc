"""Tests of `top`."""
