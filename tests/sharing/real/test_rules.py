"""The rules in Lua are the rules: the same table of cases, and the same steps at random."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import hypothesis
import pytest
from hypothesis import given, settings

from supervisor.sharing import MemorySharing, RedisSharing
from supervisor.sharing import redis as module
from supervisor.sharing.store import NEVER, Epoch, Link
from supervisor.sharing.wire import script
from tests.sharing.cases import CASES, Case
from tests.sharing.drawn import HISTORIES, Drawn
from tests.sharing.real.servers import Server
from tests.sharing.stories import SetClock, look_on, play
from tests.support.seeds import Seeds

HISTORIES_TRIED = 30


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, server: Server) -> ServersClock:
    """Let the script go by a clock that is set, in the place of the server's."""
    name = f"clock:{server.port}:{id(monkeypatch)}"
    read, rest = script().split("local CIRCUITS", 1)
    assert "TIME" in read
    text = f"local now = tonumber(redis.call('GET', '{name}'))\nlocal CIRCUITS{rest}"
    monkeypatch.setattr(module, "script", lambda: text)
    return ServersClock(server, name)


class ServersClock(SetClock):
    """A clock that stands on the server."""

    def __init__(self, server: Server, name: str) -> None:
        self._server, self._name = server, name
        super().__init__()

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self._now = now
        self._server.do("SET", self._name, str(round(now * 1000)))


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.story)
async def test_case(case: Case, server: Server, space: str, clock: ServersClock) -> None:
    store = RedisSharing(server.url, space=space, quorum=case.quorum, share_failures=True)
    await play(case, store, clock)


@pytest.mark.anyio
async def test_who_looks_on(server: Server, space: str, clock: ServersClock) -> None:
    """Sees all that is held, and is no member."""
    store, of_two = (RedisSharing(server.url, space=space, quorum=quorum) for quorum in (1, 2))
    await look_on(store, of_two, clock)


def test_random_steps(server: Server, space: str, clock: ServersClock, seeds: Seeds) -> None:
    """Both stores answer the same, tell the same news, and hold the same in the end."""
    tried = [0]
    for seed in seeds(1):

        @hypothesis.seed(seed)
        @settings(
            max_examples=HISTORIES_TRIED,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],  # to make a history shorter would take minutes
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @given(HISTORIES)
        def histories(history: list[Drawn]) -> None:
            tried[0] += 1
            asyncio.run(compare(history, server, f"{space}/{tried[0]}", clock))

        histories()


async def compare(history: list[Drawn], server: Server, space: str, clock: ServersClock) -> None:
    """Let both take all steps, of members that know what they were told."""
    clock.now = SetClock().now
    links: dict[tuple[str, int], tuple[Link, Link]] = {}
    async with AsyncExitStack() as stack:
        memories = {quorum: MemorySharing(quorum=quorum, clock=clock) for quorum in (1, 2)}
        memories[2]._held = memories[1]._held
        for owner in "abc":
            for quorum in (1, 2):
                store = RedisSharing(
                    server.url, space=space, quorum=quorum, share_failures=True, timeout=30.0
                )
                links[owner, quorum] = (
                    await stack.enter_async_context(memories[quorum].connect(owner)),
                    await stack.enter_async_context(store.connect(owner)),
                )
        known: list[Epoch] = []
        for drawn in history:
            clock.now += drawn.later
            memory, redis = links[drawn.owner, 1 + drawn.hinted]
            step = drawn.step(known)
            seen = getattr(step, "view", NEVER)
            expected = await memory.take(step, seen)
            assert await redis.take(step, seen) == expected, step
            assert await redis.beat(15.0) == await memory.beat(15.0)
            assert await redis.look() == await memory.look()
            if expected.record is not None:
                known = sorted({*known, expected.record.epoch})
        assert await told(redis) == await told(memory)
        assert await redis.past(5) == await memory.past(5)
        everything = [part async for part in memory.snapshot()]
        assert [part async for part in redis.snapshot()] == (everything or [{}])


async def told(link: Link) -> object:
    return await link.news(NEVER, 0.001)
