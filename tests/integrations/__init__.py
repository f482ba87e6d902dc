"""Guards for other people's packages, in virtual time."""
