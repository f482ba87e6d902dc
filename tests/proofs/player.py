"""Does to a breaker what a history says, and compares what it sees with what must be seen.

Whoever calls the breaker is run by hand, so that the steps decide whether its actor has a turn
between two of them.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import copy_context
from dataclasses import asdict
from typing import Any

import anyio
import pytest
import trio.lowlevel
import trio.testing

from supervisor import CircuitBreakerOpenError, Permit, PermitSettledError, Supervisor
from supervisor.machine.messages import NO_PROBE, Settle
from supervisor.testing import jump
from tests.proofs.oracle import View
from tests.support.worlds import Down, Guarded, crash, settle_down


def see(circuit: Any, retry_after: float) -> View:
    """Return what is seen of a machine, or in statistics."""
    return View(
        state=circuit.state,
        failure_count=circuit.failure_count,
        retry_after=retry_after,
        succeeded=circuit.succeeded,
        failed=circuit.failed,
        ignored=circuit.ignored,
        cancelled=circuit.cancelled,
        stale=circuit.stale,
        times_opened=circuit.times_opened,
    )


class Cancelled(BaseException):
    """Stands for a cancellation, which is a class of its own on each event loop."""


HELD = object()
"""What a call yields when its function runs, and is to be ended by hand."""


class Hold:
    """Lets whoever runs the call by hand go on, until the call is to end."""

    def __await__(self) -> Generator[object, None, str]:
        yield HELD
        return "fine"


async def held() -> str:
    return await Hold()


class Call:
    """A guarded call that is run by hand, in a context of its own as if in a task of its own."""

    def __init__(self, coroutine: Coroutine[Any, Any, str]) -> None:
        self._coroutine = coroutine
        self._run = copy_context().run

    def __await__(self) -> Generator[Any, Any, None]:
        """Go on until it holds, and wait for whatever it waits for until then."""
        wish = self.go_on()
        while wish is not HELD:
            wish = self.go_on((yield wish))

    def go_on(self, answer: Any = None) -> Any:
        return self._run(self._coroutine.send, answer)

    def end(self, end: str) -> None:
        """Let its function end in this way."""
        match end:
            case "succeeded":
                with pytest.raises(StopIteration, match="fine"):
                    self.go_on()
            case "failed":
                self.throw(Down("down"))
            case "cancelled":
                self.throw(Cancelled())

    def throw(self, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            self._run(self._coroutine.throw, error)
        assert caught.value is error

    def close(self) -> None:
        self._run(self._coroutine.close)


class Player:
    """Does to a breaker what it is told, and compares what it sees with `view`."""

    view: View

    def __init__(self, supervisor: Supervisor, policy: dict[str, Any]) -> None:
        self.supervisor = supervisor
        self.breaker = supervisor.circuit("x", **policy)
        self.calls: dict[int, Call] = {}
        self.permits: dict[int, Permit] = {}
        self.rejected = 0
        self.refused_before_waiting = 0  # of those that were to be withdrawn
        self.crashes = 0

    async def start(self, call: int, way: Guarded, refused: View | None) -> None:
        self.calls[call] = Call(way(self.breaker, held))  # type: ignore[arg-type]
        try:
            await self.calls[call]
        except CircuitBreakerOpenError as refusal:
            del self.calls[call]
            self.refused(refusal, refused)
        else:
            assert refused is None

    async def acquire(self, call: int, refused: View | None) -> None:
        try:
            self.permits[call] = await self.breaker.acquire()
        except CircuitBreakerOpenError as refusal:
            self.refused(refusal, refused)
        else:
            assert refused is None

    def refused(self, refusal: CircuitBreakerOpenError, view: View | None) -> None:
        assert view is not None
        assert (refusal.state, refusal.retry_after) == (view.state, view.retry_after)
        self.rejected += 1

    async def end(self, call: int, end: str) -> None:
        self.calls.pop(call).end(end)

    async def settle(self, call: int, outcome: str) -> None:
        settle(self.permits[call], outcome)

    async def settle_again(self, call: int, outcome: str) -> None:
        if outcome == "cancelled":  # a block of a settled permit may end as it likes
            settle(self.permits[call], outcome)
        else:
            with pytest.raises(PermitSettledError):
                settle(self.permits[call], outcome)

    async def call(self, call: int, way: Guarded, end: str, refused: View | None) -> None:
        await self.start(call, way, refused)
        if refused is None:
            await self.end(call, end)

    async def withdraw(self, way: Guarded, late: bool, refused: View | None) -> None:
        call = Call(way(self.breaker, held))  # type: ignore[arg-type]
        try:
            wish = call.go_on()
        except CircuitBreakerOpenError as refusal:
            self.refused(refusal, refused)
            self.refused_before_waiting += 1
            return
        # Trio cancels nobody who has been answered.
        if late and wish is not HELD and not on_trio():
            await settle_down()
        call.throw(Cancelled())

    async def reset(self) -> None:
        self.breaker.reset()

    async def wait(self, seconds: float, blocked: bool) -> None:
        if blocked:
            jump(seconds)
        else:
            await anyio.sleep(seconds)
            await settle_down()  # what was due just then has been done

    async def let_actor_run(self) -> None:
        await settle_down()

    async def crash(self) -> None:
        crash(self.supervisor, "x")
        self.crashes += 1

    async def crash_half_way(self) -> None:
        """Crash the actor on a message that has been counted as stale when it turns out as bad."""
        circuit = self.supervisor.find("x")
        assert circuit is not None
        circuit.mailbox.messages.append(Settle(-1, NO_PROBE, outcome=None))  # type: ignore[arg-type]
        circuit.mailbox.ring()
        self.crashes += 1

    async def read(self) -> None:
        breaker = self.breaker
        statistics = breaker.statistics()
        seen = asdict(see(statistics, statistics.retry_after))
        seen["cancelled"] += self.refused_before_waiting
        assert View(**seen) == self.view
        assert (breaker.state, breaker.failure_count, breaker.retry_after) == (
            self.view.state,
            self.view.failure_count,
            self.view.retry_after,
        )
        held = sum(not permit.settled for permit in self.permits.values())
        assert statistics.in_flight == len(self.calls) + held
        assert statistics.rejected == self.rejected

    def check_end(self) -> None:
        assert self.breaker.statistics().restarts == self.crashes

    def end_all(self) -> None:
        for call in self.calls.values():
            call.close()
        for permit in self.permits.values():
            if not permit.settled:
                permit.ignore()


def settle(permit: Permit, outcome: str) -> None:
    match outcome:
        case "succeeded":
            permit.succeed()
        case "failed":
            permit.fail(Down("down"))
        case "ignored":
            permit.ignore()
        case "cancelled":
            with pytest.raises(Cancelled), permit:
                raise Cancelled


def on_trio() -> bool:
    return trio.lowlevel.in_trio_run()
