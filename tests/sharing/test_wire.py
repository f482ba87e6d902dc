"""What is sent to Redis, and what is made of what is there: anybody may have written it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor import sharing
from supervisor.sharing.held import Count, Term
from supervisor.sharing.rules import Asker
from supervisor.sharing.store import (
    LONGEST_FAILURE,
    LONGEST_NAME,
    NEVER,
    Counting,
    Epoch,
    News,
)
from supervisor.sharing.wire import (
    LONGEST_TEXT,
    LUA,
    asked_by,
    read_held,
    read_name,
    read_news,
    script,
    unread,
)
from tests.sharing.cases import OPEN, OPENING, RENEWING

HELD: dict[str, Any] = {
    "state": "open",
    "epoch": "7-1",
    "ends": 30_000,
    "length": 30_000,
    "failed_recoveries": 2,
    "failure": "down",
    "owner": "a",
    "won": 1,
    "leases": {"t": [5, 6]},
    "votes": {},
    "counts": {"a": [7, 8, 9]},
}


def text(**changed: Any) -> bytes:
    """The text of a record; None: without that field."""
    told = {**HELD, **changed}
    return json.dumps({name: value for name, value in told.items() if value is not None}).encode()


def test_a_record_is_read() -> None:
    held = read_held(text())
    assert held is not None
    assert (held.state, held.epoch, held.ends, held.failure) == (OPEN, Epoch(7, 1), 30_000, "down")
    assert held.leases == {"t": Term(5, 6)}
    assert held.counts == {"a": Count(7, 8, 9)}
    without = read_held(text(failure=None))
    assert without == replace(held, failure=None)


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff",
        b"[]",
        b"nonsense",
        b"[" * 60_000,
        b'{"state": NaN}',
        text(state="ajar"),
        text(state=[]),
        text(epoch="7"),
        text(epoch=7),
        text(ends="1"),
        text(ends=1.5),
        text(ends=True),
        text(ends=-1),
        text(ends=2**53 + 1),
        text(failure=1),
        text(owner=None),
        text(leases=[]),
        text(leases={"t": [1]}),
        text(votes={"b": 1}),
        text(counts=None),
        text(counts={"b": [1, 2]}),
        text(failure="x" * LONGEST_TEXT),
    ],
)
def test_what_is_no_record_is_none(written: bytes) -> None:
    assert read_held(written) is None


def test_a_name_may_be_anything_but_long() -> None:
    name = "ü\x00\udcff"
    assert read_name(name.encode("utf-8", "surrogatepass")) == name
    assert read_name(b"\xff") is None
    assert read_name(b"x" * LONGEST_NAME) is not None
    assert read_name(b"x" * (LONGEST_NAME + 1)) is None


def test_news_are_read() -> None:
    place = {b"circuit": b"db", b"before": b"6-0"}
    assert read_news(b"7-1", place) == News("db", Epoch(7, 1), Epoch(6, 0), None)
    news = read_news(b"7-1", {**place, b"held": text()})
    assert news is not None
    assert news.record is not None
    assert news.record.until == 30.0


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {b"before": b"6-0"},
        {b"circuit": b"", b"before": b"6-0"},
        {b"circuit": b"\xff", b"before": b"6-0"},
        {b"circuit": b"db"},
        {b"circuit": b"db", b"before": b"x"},
        {b"circuit": b"db", b"before": b"\xff"},
        {b"circuit": b"db", b"before": b"7-1"},
        {b"circuit": b"db", b"before": b"6-0", b"held": b"?"},
        {b"circuit": b"db", b"before": b"6-0", b"held": text(epoch="6-1")},
    ],
)
def test_what_is_no_news_is_none(entry: dict[bytes, bytes]) -> None:
    """It is told all the same, so that nobody takes it for a gap that is none."""
    assert read_news(b"7-1", entry) is None
    assert unread(b"7-1") == News("", Epoch(7, 1), NEVER, None)


@pytest.mark.parametrize(
    ("is_shared", "failure", "sent"),
    [
        (True, "down", "down"),
        (True, "x" * 1000, "x" * LONGEST_FAILURE),
        (True, None, None),
        (False, "down", None),
    ],
)
def test_a_text_is_sent_by_choice(is_shared: bool, failure: str | None, sent: str | None) -> None:
    asker = Asker("a", Epoch(3, 4), 2)
    told = json.loads(asked_by(asker, replace(OPENING, failure=failure), is_shared))
    assert told.get("failure") == sent
    assert (told["step"], told["circuit"], told["length"]) == ("opening", "db", 30_000)
    assert (told["owner"], told["seen"], told["quorum"], told["view"]) == ("a", "3-4", 2, "0-0")
    assert json.loads(asked_by(asker, RENEWING, is_shared))["step"] == "renewing"


def test_each_file_of_lua_is_a_part_of_the_script() -> None:
    folder = Path(sharing.__file__).parent / "lua"
    parts = {path.stem: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert set(parts) == set(LUA)
    assert all(part in script() for part in parts.values())


def test_how_many_have_failed_is_asked_in_milliseconds() -> None:
    """As all lengths are."""
    step = Counting("x", Epoch(7, 1), 2, 1.5, 3, 30.0, 0, None)
    asker = Asker("a", Epoch(3, 4), 2)
    assert json.loads(asked_by(asker, step, share_failures=False))["within"] == 1500
