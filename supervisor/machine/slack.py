"""How many more outcomes it takes until something is reached."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import count
from typing import Final

UNLIMITED: Final = 2**40
"""More outcomes than there will ever be."""


_LEAPS: Final = 4
"""How often it is tried to come no further than is known."""


def fewest(lacking: Callable[[int], int]) -> int:
    """Return the smallest number from 1 on that is enough; `UNLIMITED` if none that matters is.

    Args:
        lacking: how many more it takes, at the least, than a number that is not enough; else 0 or
            less. If a number is enough, so are all greater ones.
    """
    low = high = 1
    for leap in count():
        more = lacking(high)
        if more <= 0:
            break
        low = high + more
        if low >= UNLIMITED:
            return UNLIMITED
        high = low + 2**leap // 2**_LEAPS
    return low + bisect_left(range(low, high), True, key=lambda times: lacking(times) <= 0)
