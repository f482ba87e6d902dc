"""The `async with` blocks that the running task is in, by whatever breakers.

One breaker serves many tasks at a time, so its blocks cannot be kept in the breaker.
"""

from __future__ import annotations

from collections.abc import Generator
from contextvars import ContextVar
from functools import partial
from types import coroutine
from typing import Final, TypeAlias, cast

from supervisor.circuit import Circuit, OuterCall, Ticket, ask, report, settle_block
from supervisor.guard.timeouts import CallLimit
from supervisor.policy import Outcome

Aside: TypeAlias = "tuple[Ticket, int, OuterCall, CallLimit | None]"
"""What there is to a block off the shortest path: its ticket, and its number among the circuit's
calls; itself, as it is known inside; and the limit to its time.
"""

Block: TypeAlias = "tuple[object, Circuit, Ticket | Aside, int, Block | None]"
"""Of one breaker: its ticket and its number, or all that there is to it; and at the end the block
round it: a linked list, innermost first.
"""

blocks: ContextVar[Block | None] = ContextVar("supervisor.blocks", default=None)


@coroutine
def _at_once() -> Generator[None, None, None]:
    yield from ()


DONE: Final = _at_once()
"""What is returned in the place of a coroutine that would wait for nothing, and would cost as much
as the guard: awaited, as often as one likes, it is done, since it is a generator that has ended.
"""
cast("Generator[None, None, None]", DONE).close()


async def enter_aside(breaker: object, circuit: Circuit, ticket: Ticket | None) -> None:
    """Enter a block off the shortest path.

    It has been admitted by `ticket`; None: it has to ask.
    """
    aside = await _begin_aside(circuit, ticket)
    blocks.set((breaker, circuit, aside, 0, blocks.get()))


async def _begin_aside(circuit: Circuit, ticket: Ticket | None) -> Aside:
    if ticket is None:
        ticket = await ask(circuit)
    began = circuit.started
    try:
        known, limit = OuterCall(circuit), await CallLimit.begin(circuit, ticket)
        known.__enter__()
    except BaseException:  # it has not begun
        circuit.ending += 1
        report(circuit, ticket, Outcome.IGNORED)
        raise
    return ticket, began, known, limit


async def end_aside(circuit: Circuit, aside: Aside, error: BaseException | None) -> None:
    """Settle such a block, that is among those that end already, by how it has ended.

    Raises:
        CallTimeoutError: it has been cancelled for having run too long.
    """
    ticket, began, known, limit = aside
    known.__exit__()
    if limit is None:
        settle_block(circuit, ticket, began, known, error)
    else:
        await limit.end(partial(settle_block, circuit, ticket, began, known), error)


def leave_block(breaker: object) -> Block:
    """Take the innermost block of `breaker` out of the list, and return it."""
    block = blocks.get()
    inner: list[Block] = []  # other breakers' blocks, when an async generator mixes the order
    while block is not None and block[0] is not breaker:
        inner.append(block)
        block = block[-1]
    if block is None:
        raise RuntimeError(
            f"the block of {breaker!r} was entered in another context than it is left in; guard an"
            " async generator by `@breaker.streaming`, and what begins in one task, or cell of a"
            " notebook, and ends in another by `permit = await breaker.acquire()`"
        )
    outer = block[-1]
    for other in reversed(inner):
        outer = (*other[:-1], outer)
    blocks.set(outer)
    return block
