"""Who takes part: floors, references, this package in all its forms, and its peers.

A peer that is not installed is left out. All thirteen that were considered fit: each has an async
API (pybreaker's is tornado's) and a policy of consecutive failures, or one that can be set up as
such (see the adapters of interlock-cb and nopanic).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Final

from benchmarks.contestants.interface import Contestant, Guard, Setup, bound

__all__ = ["PEERS", "Contestant", "Guard", "Setup", "bound", "contestants"]

PEERS: Final = (
    "interlock",
    "nopanic",
    "keel",
    "grit",
    "circuitbreaker",
    "aiobreaker",
    "purgatory",
    "hyx",
    "pybreaker",
    "fluxgate",
    "aioresilience",
    "resilix",
    "httpware",
)
"""Modules of this package, one for each peer."""


def contestants() -> dict[str, Contestant]:
    """Return all contestants that are installed, by name: floors first, peers last."""
    # Imported only now, so that whoever wants to can change a clock before anybody reads it.
    from benchmarks.contestants import homegrown, ours  # noqa: PLC0415

    return {one.name: one for one in (*homegrown.CONTESTANTS, *ours.CONTESTANTS, *_peers())}


def _peers() -> Iterator[Contestant]:
    for module in PEERS:
        try:
            yield importlib.import_module(f"{__name__}.{module}").CONTESTANT
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("benchmarks"):
                raise
