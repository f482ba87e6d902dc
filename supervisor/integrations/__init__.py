"""Guards for other people's libraries, one module for each.

Uses the public names of `supervisor` only, and imports a library only when its module is imported.
"""
