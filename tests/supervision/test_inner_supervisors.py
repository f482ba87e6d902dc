"""One supervisor inside another's block: what the outer one is told when the inner one gives up."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitCrashedError,
    CircuitGivenUp,
    EventStream,
    InnerGaveUp,
    Supervisor,
    current_supervisor,
)
from tests.support.worlds import crash, is_refused, settle_down, succeed

pytestmark = pytest.mark.anyio


async def crashed(supervisor: Supervisor, name: str) -> None:
    crash(supervisor, name)
    with anyio.CancelScope(shield=True):
        await settle_down()


async def told(stream: EventStream) -> list[InnerGaveUp]:
    stream.close()
    return [each async for each in stream if isinstance(each, InnerGaveUp)]


@pytest.mark.parametrize("verdict", ["escalate", "allow", "refuse"])
async def test_the_outer_one_is_told(verdict: Any) -> None:
    """Which circuit it was, why, and what becomes of it; its own circuits go on."""
    async with Supervisor() as outer:
        own = outer.circuit("api")
        events, of_api = outer.events(), outer.events(circuit="api")
        try:
            async with Supervisor(max_restarts=0, on_give_up=verdict) as inner:
                inner.circuit("api")
                inner_events = inner.events()
                await crashed(inner, "api")
        except CircuitCrashedError:
            assert verdict == "escalate"
        else:
            assert verdict != "escalate"
        assert await own.call(succeed) == "fine"
        (event,) = await told(events)
        (given_up,) = [each async for each in inner_events if isinstance(each, CircuitGivenUp)]
        assert (event.inner_circuit, event.verdict) == ("api", verdict)
        assert (event.circuit, event.at, event.error) == ("", given_up.at, given_up.error)
        assert await told(of_api) == []  # it is no circuit of the outer one's


async def test_it_is_told_before_the_error_arrives() -> None:
    """Whoever begins the inner block again has been told why; uncaught, it ends the outer one."""
    begun = 0
    with pytest.raises(CircuitCrashedError):
        async with Supervisor() as outer:
            events = outer.events()
            while True:
                begun += 1
                try:
                    async with Supervisor(max_restarts=0) as inner:
                        inner.circuit("x")
                        await crashed(inner, "x")
                except CircuitCrashedError:
                    if begun == 3:
                        raise
    assert begun == len(await told(events)) == 3


async def test_only_the_next_one_is_told() -> None:
    """Not those around that: the error passes them, or does not."""
    async with Supervisor() as outermost, Supervisor() as outer:
        events, near = outermost.events(), outer.events()
        async with Supervisor(max_restarts=0, on_give_up="refuse") as inner:
            breaker = inner.circuit("x")
            await crashed(inner, "x")
            assert await is_refused(breaker)
        assert await told(events) == []
        assert len(await told(near)) == 1


async def test_the_default_one_is_told_as_well() -> None:
    """It was the current one when the block was entered."""
    default = current_supervisor()
    events = default.events()
    async with Supervisor(max_restarts=0, on_give_up="allow") as inner:
        inner.circuit("x")
        await crashed(inner, "x")
    assert len(await told(events)) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop"], indirect=True)
async def test_an_outer_one_that_has_gone() -> None:
    """Blocks that are not left in the order of their beginning tell nobody, and break nothing."""
    outer = Supervisor(on_give_up="allow")
    inner = Supervisor(max_restarts=0, on_give_up="allow")
    await outer.__aenter__()
    events = outer.events()
    await inner.__aenter__()
    breaker = inner.circuit("x")
    await outer.__aexit__(None, None, None)
    await crashed(inner, "x")
    assert await breaker.call(succeed) == "fine"
    await inner.__aexit__(None, None, None)
    assert await told(events) == []
