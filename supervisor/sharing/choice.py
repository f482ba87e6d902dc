"""What circuits are shared through, and which of them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from contextlib import AbstractAsyncContextManager
from itertools import starmap
from typing import TYPE_CHECKING, Final, TypedDict, cast

from supervisor.arguments import check_count, check_seconds, shown
from supervisor.policy import check_flag
from supervisor.settings import regex_of
from supervisor.sharing.failures import Together

if TYPE_CHECKING:
    from supervisor.sharing.store import Link

ALL: Final = ("*",)

SHORTEST_LEASE: Final = 0.1
"""Seconds: a token has to be renewed in a part of that, over a network."""


SHORTEST_TIME: Final = 1.0
"""Seconds in which failures count together: each part of it may cost a command."""


class SharingOptions(TypedDict, total=False):
    """What all of them take; see `Sharing`."""

    shared: Collection[str]
    local: Collection[str]
    quorum: int
    lease: float
    share_failures: bool
    failures: int | None
    failures_within: float


class Sharing(ABC):
    """What supervisors share circuits through: a store, and which circuits they share.

    Args:
        shared, local: patterns of the names of circuits, in which `*` stands for any characters.
            The longest that fits decides; of two that are as long, the local one does. A circuit
            that none fits is local. By default, all are shared.
        quorum: how many members must have opened a circuit before it is open for all, 1 or more.
        lease: seconds that a probe's token is good for, at least 0.1; it is renewed while the probe
            runs. So long, at most, nobody probes after a process has been killed that did.
        share_failures: whether the text of what has opened a circuit is shared; it may hold
            secrets.
        failures: how many failed calls of all members together open a circuit for all, 1 or more,
            by their weight; those of as many members as `quorum` says. By default, each member
            counts its own. It should be the same everywhere, as should `failures_within`.
        failures_within: seconds in which they count together, at least 1. A member tells in parts
            of a tenth of that, so that a failure counts for up to a tenth longer.

    Attributes:
        malformed: how many records and news were skipped since nobody can read them.
        together: when failures of all open a circuit; None: never.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    malformed: int

    def __init__(
        self,
        *,
        shared: Collection[str] = ALL,
        local: Collection[str] = (),
        quorum: int = 1,
        lease: float = 5.0,
        share_failures: bool = False,
        failures: int | None = None,
        failures_within: float = 10.0,
    ) -> None:
        self.malformed = 0
        self.quorum = check_count("quorum", quorum)
        self.lease = check_seconds("lease", lease)
        if self.lease < SHORTEST_LEASE:
            raise ValueError(f"lease must be at least {SHORTEST_LEASE} (seconds), got {lease!r}")
        self.share_failures = check_flag("share_failures", share_failures)
        self.together = _together(failures, failures_within)
        patterns = [(pattern, True) for pattern in _checked("shared", shared)]
        patterns += [(pattern, False) for pattern in _checked("local", local)]
        patterns.sort(key=lambda each: (-len(each[0]), each[1]))
        self._names = re.compile("|".join(starmap(_as_regex, patterns)) or "(?!)", re.DOTALL)

    def shares(self, circuit: str) -> bool:
        """Return whether the circuit of that name is shared."""
        fits = self._names.fullmatch(circuit)  # the first pattern that fits decides
        return fits is not None and fits.lastindex is not None

    @abstractmethod
    def connect(self, owner: str) -> AbstractAsyncContextManager[Link]:
        """Connect as the member of that name."""


def _together(failures: int | None, within: float) -> Together | None:
    within = check_seconds("failures_within", within)
    if within < SHORTEST_TIME:
        raise ValueError(
            f"failures_within must be at least {SHORTEST_TIME} (seconds), got {within!r}"
        )
    return None if failures is None else Together(check_count("failures", failures), within)


def _checked(field: str, patterns: object) -> tuple[str, ...]:
    given: object = patterns
    several = isinstance(patterns, list | tuple | set | frozenset)
    names = list(cast("Iterable[object]", patterns)) if several else []
    checked = tuple(each for each in names if isinstance(each, str) and each)
    if not several or len(checked) < len(names):
        raise TypeError(f"{field} must be a tuple of patterns of names, got {shown(given)}")
    return checked


def _as_regex(pattern: str, is_shared: bool) -> str:
    """Return what fits the same names; a group says that they are shared."""
    return f"({regex_of(pattern)})" if is_shared else regex_of(pattern)
