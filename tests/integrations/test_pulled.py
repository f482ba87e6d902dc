"""Guarded streams of what a reader asks for."""

from __future__ import annotations

import anyio
import pytest

from supervisor import CircuitBreaker, Supervisor
from supervisor.integrations.pulled import Pulled, at_once

pytestmark = pytest.mark.anyio


async def part() -> str:
    await anyio.sleep(1)
    return "part"


async def test_operations_are_the_items_of_a_stream() -> None:
    """Each of them once; without one, the stream is at its end."""
    async with Supervisor() as supervisor:
        breaker: CircuitBreaker = supervisor.circuit("a")
        pulled = Pulled()
        async with breaker.stream(lambda: pulled) as stream:
            for _ in range(2):
                pulled.operation = part
                assert await anext(stream) == "part"
            assert await anext(stream, "over") == "over"
        assert supervisor.statistics()["a"].succeeded == 1


async def test_what_is_over_at_once() -> None:
    """Gives its result, or raises."""

    async def result() -> int:
        return 5

    async def error() -> None:
        raise LookupError

    assert at_once(result()) == 5
    with pytest.raises(LookupError):
        at_once(error())
    with pytest.raises(RuntimeError, match="what should be over at once has to wait"):
        at_once(part())
