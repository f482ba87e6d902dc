"""What is in a store: much of it, or what others have written."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest
from anyio.lowlevel import checkpoint

from supervisor import app_settings
from supervisor.sharing import RedisSharing
from supervisor.sharing.store import NEVER, Epoch
from tests.sharing.cases import ASKING, OPEN, OPENING
from tests.sharing.real.servers import Server
from tests.support.logs import Records, handled_by

pytestmark = pytest.mark.anyio

MANY = 10_000
MOST_AT_A_TIME = 0.02
"""Seconds of work before the event loop goes on with others."""


def key(space: str, what: str) -> str:
    return f"circuits:{{{space}}}:{what}"


def record(number: int = 0, **changed: object) -> str:
    """The text of a record as the script has it."""
    told = {"state": "open", "epoch": f"{number + 1}-0", "ends": 2**52, "length": 2**52}
    told |= {
        "failed_recoveries": 0,
        "owner": "a",
        "won": 0,
        "leases": {},
        "votes": {},
        "counts": {},
        **changed,
    }
    return json.dumps(told)


async def test_a_snapshot_of_many_lets_others_go_on(server: Server, space: str) -> None:
    """Of the thread's own time, which others on this machine do not take: the best of three."""
    for first in range(0, MANY, 500):
        pairs = [[f"circuit {n}", record(n)] for n in range(first, first + 500)]
        server.do("HSET", key(space, "circuits"), *[text for pair in pairs for text in pair])
    longest: list[float] = []

    async def watch() -> None:
        before = time.thread_time()
        while True:
            await checkpoint()
            now = time.thread_time()
            longest[-1] = max(longest[-1], now - before)
            before = now

    async with RedisSharing(server.url, space=space, timeout=60.0).connect("a") as link:
        for _ in range(3):
            found: set[str] = set()
            async with anyio.create_task_group() as group:
                longest.append(0.0)
                group.start_soon(watch)
                async for part in link.snapshot():
                    found.update(part)
                group.cancel_scope.cancel()
            assert len(found) == MANY
    assert min(longest) <= MOST_AT_A_TIME


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.LogRecord]]:
    """The lines of this package."""
    monkeypatch.setattr(app_settings.circuit_breaker, "logs", "logging")
    with handled_by(Records()) as handler:
        yield handler.records


async def test_what_nobody_can_read_is_skipped(
    server: Server, space: str, logged: list[logging.LogRecord]
) -> None:
    """It is counted, logged once, and written anew by the next step; news of it are no gap."""
    circuits, news = key(space, "circuits"), key(space, "news")
    wrong = [
        "?",
        "[]",
        record(leases=[1]),
        record(ends="soon"),
        record(state="ajar"),
        record(counts={"a": [1, 2]}),
    ]
    for number, text in enumerate(wrong):
        server.do("HSET", circuits, f"wrong {number}", text)
    server.do("HSET", circuits, "x" * 2000, record())
    server.do("HSET", circuits, "right", record())
    server.do("XADD", news, "5-0", "circuit", "wrong", "before", "4-0", "held", "?")
    server.do("XADD", news, "6-0", "circuit", "right", "before", "5-0")
    store = RedisSharing(server.url, space=space)
    async with store.connect("a") as link:
        assert [list(part) async for part in link.snapshot()] == [["right"]]
        assert store.malformed == len(wrong) + 1
        told = await link.news(NEVER, 1.0)
        assert [each.circuit for each in told] == ["", "right"]
        assert told[0].epoch == told[1].before == Epoch(5, 0)
        assert store.malformed == len(wrong) + 2
        for number in range(len(wrong)):
            name = f"wrong {number}"
            assert (await link.take(replace(ASKING, circuit=name), NEVER)).outcome == "leased"
            await link.beat(15.0)
    (line,) = [each for each in logged if "cannot be read" in each.getMessage()]
    assert line.getMessage() == (
        f"RedisSharing('redis://127.0.0.1:{server.port}/0', space={space!r}): a circuit's record"
        " cannot be read and is skipped, as others will be without a word"
    )


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_text_is_shared_by_choice(server: Server, space: str, is_shared: bool) -> None:
    store = RedisSharing(server.url, space=space, share_failures=is_shared)
    async with store.connect("a") as link:
        answer = await link.take(replace(OPENING, failure="secret"), NEVER)
        assert answer.record is not None
        assert answer.record.failure == ("secret" if is_shared else None)
    assert (b"secret" in server.do("HGETALL", key(space, "circuits"))) is is_shared


async def test_a_space_is_its_own(server: Server, space: str) -> None:
    """What is told in one is not heard in another, and no name leads out of it."""
    async with RedisSharing(server.url, space=space).connect("a") as link:
        name = "}:circuits {other} *"
        await link.take(replace(OPENING, circuit=name), NEVER)
        async with RedisSharing(server.url, space=f"{space}/b").connect("a") as other:
            assert (await other.beat(15.0)).latest == NEVER
            assert [part async for part in other.snapshot()] == [{}]
        assert [part[name].state async for part in link.snapshot()] == [OPEN]


async def test_a_vote_is_no_record(server: Server, space: str) -> None:
    async with RedisSharing(server.url, space=space, quorum=2).connect("a") as link:
        assert (await link.take(OPENING, NEVER)).outcome == "alone"
        assert [part async for part in link.snapshot()] == [{}]
