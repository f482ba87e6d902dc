"""Benchmarks of circuit breakers: this package, the floors under it, and its peers."""
