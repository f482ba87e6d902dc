"""The benchmark suite's own tests."""
