"""How many more outcomes it takes until something is reached."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Final

UNLIMITED: Final = 2**40
"""More outcomes than there will ever be."""


def fewest(reached: Callable[[int], bool]) -> int:
    """Return the smallest number from 1 on for which `reached` holds, as it does for all greater
    ones; `UNLIMITED` if there is none that matters.
    """
    high = 1
    while not reached(high):
        if high >= UNLIMITED:
            return UNLIMITED
        high *= 2
    low = high // 2 + 1
    return low + bisect_left(range(low, high), True, key=reached)
