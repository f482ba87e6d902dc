"""Circuits and their events as JSON."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from enum import Enum
from typing import Any, Final, cast

from supervisor import Event, EventsMissed, Fleet, RecentFailure, Statistics, Window

_TEXTS: Final = frozenset({"error", "last_failure", "recent_failures"})
"""Fields that are the texts of callers' failures."""

_NO_JSON: Final = frozenset({"policy"})


def as_json(
    record: Statistics | Fleet | Event | EventsMissed, show_failures: bool
) -> dict[str, Any]:
    """Return what a record says, but texts of failures only if they are to be shown."""
    kind: Any = type(record)
    return {name: _plain(getattr(record, name)) for name in _names(kind, show_failures)}


def event_as_json(event: Event | EventsMissed, show_failures: bool) -> dict[str, Any]:
    """Return what an event says, and what kind of event it is."""
    return {"type": type(event).__name__, **as_json(event, show_failures)}


@functools.cache
def _names(kind: Any, show_failures: bool) -> tuple[str, ...]:
    left_out = _NO_JSON if show_failures else _NO_JSON | _TEXTS
    return tuple(field.name for field in fields(kind) if field.name not in left_out)


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case Mapping():
            return dict(cast("Mapping[str, int]", value))
        case Window() | RecentFailure():
            return asdict(value)
        case tuple():
            return [_plain(each) for each in cast("tuple[object, ...]", value)]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
