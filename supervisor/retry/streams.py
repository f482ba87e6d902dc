"""Streams that are opened again as long as no item has come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from functools import partial
from typing import Any, Final, assert_never

from supervisor.guard import CircuitBreaker, stream_again
from supervisor.retry.attempts import Loops
from supervisor.retry.circuits import CircuitOfLoop
from supervisor.retry.strategies import Deadline, Rules
from supervisor.retry.tasks import IN_TASKS, TaskAttempts

Open = Callable[[], AsyncGenerator[Any, None]]
"""Opens a stream: an async generator function, with its arguments."""

Attempt = Callable[[], AbstractAsyncContextManager[AsyncIterator[Any]]]
"""Returns a stream that is opened when it is entered, and closed when it is left."""

Begun = tuple[Any, AsyncIterator[Any]]
"""The first item of a stream, or `END`, and the stream."""

Begin = Callable[[AsyncExitStack, Open], Awaitable[Begun]]
"""Opens a stream, which the stack closes."""

END: Final = object()
"""Comes first of a stream that has no items."""


def retried_stream(circuit: CircuitOfLoop, rules: Rules) -> Begin:
    """Return what opens a stream by these rules, guarded by the circuit."""
    loops = Loops(circuit, rules, IN_TASKS)
    match rules.guard:
        case "loop":
            return partial(_begin_in_guarded_loop, circuit, loops)
        case "attempt":
            return partial(_begin_by_guarded_attempts, circuit, loops)
        case None:
            return partial(_begin, loops, None)
        case _:
            assert_never(rules.guard)


async def read(begin: Begin, opens: Open) -> AsyncGenerator[Any, None]:
    """Give the items of the first attempt that has any, and close its stream in the end."""
    async with AsyncExitStack() as stack:
        first, items = await begin(stack, opens)
        if first is END:
            return
        yield first
        async for item in items:
            yield item


async def _begin(
    loops: Loops, own: CircuitBreaker | None, stack: AsyncExitStack, opens: Open
) -> Begun:
    """Begin a stream that nothing guards, or a call of `own` with all its attempts."""
    loop, deadline = loops.new()
    opens = _by(deadline, opens)
    first = partial(_attempt, stack, lambda: aclosing(opens()))
    if own is None or not own.limits_retries:
        begun: Begun = await loop(first)
    else:
        begun = await TaskAttempts(first, IN_TASKS.paid(own, first)).make_all(loop)
    return begun


async def _begin_by_guarded_attempts(
    circuit: CircuitOfLoop, loops: Loops, stack: AsyncExitStack, opens: Open
) -> Begun:
    loop, deadline = loops.new()
    opens = _by(deadline, opens)
    first = partial(_attempt, stack, lambda: circuit.get().stream(opens))
    again = partial(_attempt, stack, lambda: stream_again(circuit.get(), opens))
    begun: Begun = await TaskAttempts(first, again).make_all(loop)
    return begun


async def _begin_in_guarded_loop(
    circuit: CircuitOfLoop, loops: Loops, stack: AsyncExitStack, opens: Open
) -> Begun:
    own = circuit.get()
    whole = partial(read, partial(_begin, loops, own), opens)
    return await _attempt(stack, lambda: own.stream(whole))


async def _attempt(stack: AsyncExitStack, opening: Attempt) -> Begun:
    """Wait for the first item of a stream, and leave its closing to `stack` if there is one."""
    async with AsyncExitStack() as attempt:
        items = await attempt.enter_async_context(opening())
        try:
            first = await anext(items)
        except StopAsyncIteration:
            first = END
        stack.push_async_exit(attempt.pop_all())
    return first, items


def _by(deadline: Deadline | None, opens: Open) -> Open:
    """Return what opens a stream whose first item must have come by the deadline."""
    return opens if deadline is None else partial(_limited, deadline, opens)


async def _limited(deadline: Deadline, opens: Open) -> AsyncGenerator[Any, None]:
    async with aclosing(opens()) as items:
        try:
            first = await deadline.make(partial(anext, items))
        except StopAsyncIteration:
            return
        yield first
        async for item in items:
            yield item
