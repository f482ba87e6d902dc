"""What the user asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sorting = Literal["name", "calls", "failures", "refusals", "in-flight", "waiting"]


class TopError(ValueError):
    """An argument cannot be used; the text names it, and says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to watch, and how.

    Attributes:
        urls: where each process has mounted its `CircuitsApp`.
        headers: what to send with each request: names and values.
        interval: seconds between two readings.
        sorting: what the circuits are sorted by, those first that need attention.
        pattern: which circuits are shown, by `fnmatch`.
        once: whether to end after one table.
    """

    urls: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    interval: float = 1.0
    sorting: Sorting = "name"
    pattern: str = "*"
    once: bool = False
