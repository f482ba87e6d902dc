"""Steps, records and news as Redis has them: JSON, which is data to the script and to its readers.

Whatever comes from there may have been written by anybody: what makes no sense is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from typing import Any, Final

from supervisor.machine import CircuitState
from supervisor.sharing.held import (
    REMEMBERED_CLOSED,
    REMEMBERED_OPEN,
    Count,
    Held,
    Term,
    bytes_of,
    milliseconds,
    record_of,
    shortened,
)
from supervisor.sharing.rules import EARLY, Asker
from supervisor.sharing.space import KEPT_NEWS, LOOKS
from supervisor.sharing.store import LONGEST_NAME, NEVER, Epoch, News, Step

LUA: Final = ("clock", "held", "news", "steps", "members")
"""The parts of the script, each in a file of its own."""

SLICE: Final = 200
"""Records in a part of a snapshot, about."""

LONGEST_TEXT: Final = 2**16
"""Bytes of what is held of one circuit."""

_KEPT: Final = 24 * 60 * 60 * 1000
"""Milliseconds for which each key is kept after the last sign of life of any member."""

_SAME_FOR_ALL: Final[Mapping[str, object]] = {
    "keep": _KEPT,
    "kept_news": KEPT_NEWS,
    "looks": LOOKS,
    "slice": SLICE,
    "early": EARLY,
    "remembered_closed": REMEMBERED_CLOSED,
    "remembered_open": REMEMBERED_OPEN,
    "longest_name": LONGEST_NAME,
}

_LARGEST: Final = 2**53
"""Numbers beyond are not exact in Lua."""


def script() -> str:
    """Return the script that takes all steps."""
    folder = files("supervisor.sharing") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in LUA)


def asked(step: str, **values: object) -> bytes:
    """Return what the script is asked for."""
    text = json.dumps({**_SAME_FOR_ALL, "step": step, **values}, ensure_ascii=False)
    return bytes_of(text)


def asked_by(asker: Asker, step: Step, share_failures: bool) -> bytes:
    """Return a step as the script is asked for it; texts of failures are left out or shortened."""
    values: dict[str, Any] = {}
    for field in fields(step):
        value = getattr(step, field.name)
        match field.name:
            case "seconds":
                values["length"] = milliseconds(value)
            case "within":
                values[field.name] = milliseconds(value)
            case "view" | "epoch":
                values[field.name] = text_of(value)
            case "failure":
                if share_failures and value is not None:
                    values[field.name] = shortened(value)
            case _:
                values[field.name] = value
    values |= {"owner": asker.owner, "seen": text_of(asker.seen), "quorum": asker.quorum}
    return asked(type(step).__name__.lower(), **values)


def text_of(epoch: Epoch) -> str:
    """Return an epoch as the ID of its entry in the stream."""
    return f"{epoch.milliseconds}-{epoch.number}"


def read_epoch(text: str) -> Epoch:
    """Return the epoch of an entry.

    Raises:
        ValueError: it is none.
    """
    milliseconds, number = text.split("-")
    return Epoch(int(milliseconds), int(number))


def read_name(name: bytes) -> str | None:
    """Return the name of a circuit."""
    if len(name) > LONGEST_NAME:
        return None
    try:
        return name.decode("utf-8", "surrogatepass")
    except ValueError:
        return None


def read_held(text: bytes) -> Held | None:
    """Return what is held of a circuit."""
    if len(text) > LONGEST_TEXT:
        return None
    try:
        told = json.loads(text)
        return Held(
            CircuitState(told["state"]),
            read_epoch(told["epoch"]),
            _whole(told["ends"]),
            _whole(told["length"]),
            _whole(told["failed_recoveries"]),
            _text(told["failure"]) if "failure" in told else None,
            _text(told["owner"]),
            _whole(told["won"]),
            _terms(told["leases"]),
            _terms(told["votes"]),
            _counts(told["counts"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def read_news(identifier: bytes, entry: Mapping[bytes, bytes]) -> News | None:
    """Return the news of an entry of the stream."""
    epoch = read_epoch(identifier.decode())
    circuit = read_name(entry.get(b"circuit", b""))
    try:
        before = read_epoch(entry[b"before"].decode())
    except (ValueError, KeyError):
        return None
    if not circuit or before >= epoch:
        return None
    if b"held" not in entry:
        return News(circuit, epoch, before, None)
    held = read_held(entry[b"held"])
    if held is None or held.epoch != epoch:
        return None
    return News(circuit, epoch, before, record_of(held))


def unread(identifier: bytes) -> News:
    """Return what is told in the place of an entry that nobody can read."""
    return News("", read_epoch(identifier.decode()), NEVER, None)


def _whole(number: object) -> int:
    if type(number) is not int or not 0 <= number <= _LARGEST:
        raise ValueError(number)
    return number


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(text)
    return text


def _terms(terms: Mapping[str, Any]) -> dict[str, Term]:
    return {name: Term(_whole(ends), _whole(length)) for name, (ends, length) in terms.items()}


def _counts(counts: Mapping[str, Any]) -> dict[str, Count]:
    return {
        owner: Count(*map(_whole, (ends, length, n))) for owner, (ends, length, n) in counts.items()
    }
