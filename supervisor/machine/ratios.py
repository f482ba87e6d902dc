"""Shares of a whole, counted exactly: whoever writes 0.29 means 29 of 100, and no float near it."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Final

_MOST_PARTS: Final = 1_000_000


@lru_cache(maxsize=256)
def ratio(share: float) -> tuple[int, int]:
    """Return the two whole numbers whose ratio is meant by a float.

    That is the plainest one that reads as this float, such as 1 / 3; or else what its digits say.
    """
    plain = Fraction(share).limit_denominator(_MOST_PARTS)
    exact = plain if float(plain) == share else Fraction(repr(share))
    return exact.numerator, exact.denominator


def is_share(part: int, whole: int, share: float) -> bool:
    """Whether `part` is at least that share of `whole`."""
    parts, of = ratio(share)
    return part * of >= whole * parts
