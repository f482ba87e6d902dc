"""How numbers among the arguments are read, in argparse's way: a mistake names what was given."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number from `least` to `most`, as the `type` of an argument."""

    def read(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}"
            )
        return int(text)

    return read


def number(text: str) -> float:
    """Return the number that a text says, or else one that is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan
