"""Proofs: searches for faults, short in `make test`, as long as one likes in `make prove`."""
