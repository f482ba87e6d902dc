"""Where the luck of the proofs comes from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

DIGITS = 10**9
"""Seeds are below this number."""


def drawn_seed() -> int:
    """Draw the seed of a whole run."""
    return random.SystemRandom().randrange(DIGITS)


@dataclass
class Seeds:
    """The seeds of one test: the same ones in every run, unless the run has a seed.

    Args:
        test: its name, which makes its seeds other ones than those of all other tests.
        run: the seed of the run, if it has one.
        effort: how many times as many seeds as usual are to be tried.
        latest: the one handed out last, to blame if the test fails.
    """

    test: str
    run: int | None
    effort: int
    latest: int | None = None

    def __call__(self, usual: int, first: int = 0) -> Iterator[int]:
        """Yield as many as are usual, times the effort; without a seed of the run those from
        `first` on.
        """
        chance = random.Random(f"{self.run} {self.test} {first}")
        for number in range(first, first + usual * self.effort):
            self.latest = number if self.run is None else chance.randrange(DIGITS)
            yield self.latest

    def __str__(self) -> str:
        again = "" if self.run is None else f"; again: --seed {self.run} --effort {self.effort}"
        return f"seed {self.latest}{again}"
