"""The floors and the references: one realistic machine, guarded in all the usual ways."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import sniffio
import trio

from benchmarks.contestants.interface import ASYNCIO, EVERYWHERE, Contestant, Guard, Setup

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Refused(Exception):
    """The circuit is open, or half-open with all its probes under way."""


class Machine:
    """State, counts, threshold and time checks, with nothing to protect them."""

    def __init__(self, setup: Setup) -> None:
        self.failure_threshold = setup.failure_threshold
        self.recovery_timeout = setup.recovery_timeout
        self.success_threshold = setup.success_threshold
        self.state = CLOSED
        self.failures = 0  # consecutive
        self.opened_at = 0.0
        self.probes = 0
        self.probe_successes = 0
        self.total_successes = 0
        self.total_failures = 0

    def admit(self) -> None:
        """Let a call begin, or raise `Refused`."""
        if self.state is CLOSED:
            return
        if self.state is OPEN:
            if time.monotonic() - self.opened_at < self.recovery_timeout:
                raise Refused
            self.state, self.probes, self.probe_successes = HALF_OPEN, 0, 0
        if self.probes >= self.success_threshold:
            raise Refused
        self.probes += 1

    def succeed(self) -> None:
        """Count a success."""
        self.total_successes += 1
        if self.state is CLOSED:
            self.failures = 0
        elif self.state is HALF_OPEN:
            self.probes -= 1
            self.probe_successes += 1
            if self.probe_successes >= self.success_threshold:
                self.state, self.failures = CLOSED, 0

    def fail(self, error: BaseException) -> None:
        """Count a failure; a cancellation only gives a probe's slot back."""
        if not isinstance(error, Exception):
            self.probes -= self.state is HALF_OPEN
            return
        self.total_failures += 1
        self.failures += 1
        if self.state is HALF_OPEN or self.failures >= self.failure_threshold:
            self.state, self.opened_at = OPEN, time.monotonic()


class InlineBreaker(Machine):
    """The floor: what a closed circuit has to do, in line."""

    async def call(self, func: Guard, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function if the circuit lets it, and count how it ends."""
        if self.state is not CLOSED:
            self.admit()
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            self.fail(error)
            raise
        if self.state is CLOSED:
            self.total_successes += 1
            self.failures = 0
        else:
            self.succeed()
        return result


class LockBreaker(Machine):
    """The usual home-grown breaker: its state is read and written under a lock."""

    def __init__(self, setup: Setup, lock: asyncio.Lock | anyio.Lock) -> None:
        super().__init__(setup)
        self.lock = lock

    async def call(self, func: Guard, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function if the circuit lets it, and count how it ends."""
        async with self.lock:
            if self.state is not CLOSED:
                self.admit()
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            async with self.lock:
                self.fail(error)
            raise
        async with self.lock:
            if self.state is CLOSED:
                self.total_successes += 1
                self.failures = 0
            else:
                self.succeed()
        return result


class Request:
    """A caller's message to the naive actor, and the reply to it."""

    __slots__ = ("answered", "refusal")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.refusal: Refused | None = None


@asynccontextmanager
async def naive_actor(setup: Setup) -> AsyncIterator[Guard]:
    """A task that owns the machine; every admission is a message to it and a reply."""
    machine = Machine(setup)
    mailbox, messages = anyio.create_memory_object_stream[Request | BaseException | None](math.inf)

    async def act() -> None:
        async with messages:
            async for message in messages:
                if message is None:
                    machine.succeed()
                elif isinstance(message, Request):
                    try:
                        machine.admit()
                    except Refused as refusal:
                        message.refusal = refusal
                    message.answered.set()
                else:
                    machine.fail(message)

    async def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Any:
        request = Request()
        await mailbox.send(request)
        await request.answered.wait()
        if request.refusal is not None:
            raise request.refusal
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            mailbox.send_nowait(error)
            raise
        mailbox.send_nowait(None)
        return result

    # Not in a task group: 10,000 of them inside each other would cost the actor, not its design.
    if sniffio.current_async_library() == "trio":
        trio.lowlevel.spawn_system_task(act)
    else:
        task = asyncio.create_task(act())  # noqa: F841, RUF006  # it must not be collected
    try:
        yield guard
    finally:
        mailbox.close()  # which ends the task


def bare(func: Guard, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
    """No guard: the call itself."""
    return func(*args, **kwargs)


bare.bound = lambda func: func  # type: ignore[attr-defined]


CONTESTANTS = (
    Contestant("bare", "floor", EVERYWHERE, lambda _setup: nullcontext(bare), ()),
    Contestant(
        "inline",
        "floor",
        EVERYWHERE,
        lambda setup: nullcontext(InlineBreaker(setup).call),
        (Refused,),
    ),
    Contestant(
        "lock",
        "reference",
        ASYNCIO,
        lambda setup: nullcontext(LockBreaker(setup, asyncio.Lock()).call),
        (Refused,),
    ),
    Contestant(
        "anyio-lock",
        "reference",
        EVERYWHERE,
        lambda setup: nullcontext(LockBreaker(setup, anyio.Lock()).call),
        (Refused,),
    ),
    Contestant("naive-actor", "reference", EVERYWHERE, naive_actor, (Refused,)),
)
