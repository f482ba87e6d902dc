"""Shares, counted exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest

from supervisor.machine.ratios import is_share, ratio


@pytest.mark.parametrize(
    ("share", "meant"),
    [
        (0.29, Fraction(29, 100)),
        (0.1 + 0.2, Fraction("0.30000000000000004")),
        (1 / 3, Fraction(1, 3)),
        (2 / 3, Fraction(2, 3)),
        (1.0, Fraction(1)),
        (0.0, Fraction(0)),
        (1.1, Fraction(11, 10)),
        (0.123456789, Fraction(123456789, 10**9)),
        (1e-9, Fraction(1, 10**9)),
        (5e-324, Fraction(5, 10**324)),
    ],
)
def test_what_is_meant(share: float, meant: Fraction) -> None:
    """The plainest ratio that reads so, or what the digits say."""
    assert Fraction(*ratio(share)) == meant
    assert float(meant) == share


def test_every_percentage() -> None:
    """So many of a hundred are that share, and one less is not."""
    for percent in range(1, 101):
        for times in (1, 7, 1000):
            assert is_share(percent * times, 100 * times, percent / 100)
            assert not is_share(percent * times - 1, 100 * times, percent / 100)
