"""The tests: modules of the same names as those that they are about."""
