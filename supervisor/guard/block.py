"""The `async with` blocks of breakers.

One breaker serves many tasks at a time, so its blocks cannot be kept in the breaker. But a
statement `async with` looks up how to leave its block right before it enters, and keeps what it has
got. So each look is given a way out of its own, and what is entered next goes with it: no block is
taken for another one, in whatever task or context it ends, be it by the garbage collector.

Who enters without such a statement, as an `AsyncExitStack` does, keeps nothing. Those blocks are
remembered by the context that they were entered in.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from functools import partial
from threading import get_ident
from types import TracebackType, coroutine
from typing import Final, Protocol, TypeAlias, cast

from supervisor.circuit import Circuit, OuterCall, Ticket, ask, report, settle_block
from supervisor.guard.timeouts import CallLimit
from supervisor.policy import Outcome

getrefcount: Final[Callable[[object], int]] = getattr(sys, "getrefcount", lambda _: 0)
"""Python's own; where there is none, all blocks are remembered."""

UNKEPT: Final = 3
"""References to the block that a breaker has given a way out of, if nobody has kept that: of the
breaker, of who looks, and of the look itself.
"""

Aside: TypeAlias = "tuple[Ticket, OuterCall, CallLimit | None]"
"""What there is to a block off the shortest path: its ticket; itself, as it is known inside; and
the limit to its time.
"""


@coroutine
def _at_once() -> Generator[None, None, None]:
    yield from ()


DONE: Final = _at_once()
"""What is returned in the place of a coroutine that would wait for nothing, and would cost as much
as the guard: awaited, as often as one likes, it is done, since it is a generator that has ended.
"""
tuple(cast("Generator[None, None, None]", DONE))


class Entered(Protocol):
    """Has blocks: a breaker.

    Attributes:
        _entering: the block that it has given a way out of last, unless that has been entered.
    """

    _entering: Block | None


class Block:
    """One block, which may be entered once.

    Attributes:
        breaker: by what.
        thread: where the way out of it was looked up.
        circuit, began: its circuit, and its number among the calls there, once it is entered.
        grant: by what it has to be settled, or all that there is to it; None: it is not open.
    """

    __slots__ = ("began", "breaker", "circuit", "grant", "thread")

    breaker: Entered
    thread: int
    circuit: Circuit
    began: int
    grant: Ticket | Aside | None

    def leave(
        self,
        _type: type[BaseException] | None,
        exc: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Awaitable[None]:
        """Settle it, by how it has ended."""
        grant = self.grant
        if grant is None:  # it was looked up by who has entered another one
            self.breaker._entering = None  # pyright: ignore[reportPrivateUsage]
            return leave_remembered(self.breaker, exc)
        circuit = self.circuit
        if exc is None and grant is circuit.grant and circuit.loop.thread == get_ident():
            self.grant = None
            circuit.unsent_successes += 1
            return DONE
        if circuit.running and circuit.loop.thread != get_ident():
            circuit.check_thread()  # looked at before: this, too, fails at the recursion limit
        self.grant, circuit.ending = None, circuit.ending + 1
        if isinstance(grant, tuple):
            return _end_aside(circuit, grant, self.began, exc)
        settle_block(circuit, grant, self.began, None, exc)
        return DONE


def way_out(breaker: Entered) -> Callable[..., Awaitable[None]]:
    """Settle the block by how it has ended."""
    block = breaker._entering = Block()  # pyright: ignore[reportPrivateUsage]
    block.breaker, block.grant, block.thread = breaker, None, get_ident()
    return block.leave


def leave_by_hand(
    breaker: Entered,
    _type: type[BaseException] | None,
    exc: BaseException | None,
    _traceback: TracebackType | None,
) -> Awaitable[None]:
    """Leave the innermost block of `breaker` that the context remembers."""
    return leave_remembered(breaker, exc)


class WayOut(property):
    """`__aexit__`, as an attribute of a breaker: another one for each look."""

    __call__ = staticmethod(leave_by_hand)  # what it is as an attribute of the class


# Blocks that a context remembers

Remembered: TypeAlias = "tuple[Block, Remembered | None]"
"""A block, and those round it: a linked list, innermost first."""

_remembered: ContextVar[Remembered | None] = ContextVar("supervisor.blocks", default=None)


def remember(breaker: Entered) -> Block:
    """Return a block of `breaker` that is about to be entered, and is kept by this context."""
    block, outer = Block(), _remembered.get()
    block.breaker, block.grant = breaker, None
    while outer is not None and outer[0].grant is None:  # it was left in another context
        outer = outer[1]
    _remembered.set((block, outer))
    return block


def leave_remembered(breaker: Entered, exc: BaseException | None) -> Awaitable[None]:
    """Leave the innermost open block of `breaker` that this context remembers.

    Raises:
        RuntimeError: there is none.
    """
    here = _remembered.get()
    inner: list[Block] = []  # other breakers' blocks, when an async generator mixes the order
    while here is not None and (here[0].breaker is not breaker or here[0].grant is None):
        inner.append(here[0])
        here = here[1]
    if here is None:
        raise RuntimeError(
            f"the block of {breaker!r} was entered in another context than it is left in; guard an"
            " async generator by `@breaker.streaming`, and what begins in one task, or cell of a"
            " notebook, and ends in another by `permit = await breaker.acquire()`"
        )
    block, outer = here
    for other in reversed(inner):
        outer = outer if other.grant is None else (other, outer)
    _remembered.set(outer)
    return block.leave(None, exc, None)


# Blocks off the shortest path


async def enter_aside(
    breaker: Entered, block: Block | None, circuit: Circuit, ticket: Ticket | None
) -> None:
    """Enter a block off the shortest path; None: one that the context is to remember.

    It has been admitted by `ticket`; None: it has to ask.
    """
    if ticket is None:
        ticket = await ask(circuit)
    began = circuit.started
    try:
        known, limit = OuterCall(circuit), await CallLimit.begin(circuit, ticket)
        block = block or remember(breaker)
        known.__enter__()
    except BaseException:  # it has not begun
        circuit.ending += 1
        report(circuit, ticket, Outcome.IGNORED)
        raise
    block.circuit, block.grant, block.began = circuit, (ticket, known, limit), began


async def _end_aside(
    circuit: Circuit, aside: Aside, began: int, error: BaseException | None
) -> None:
    """Settle such a block, that is among those that end already, by how it has ended.

    Raises:
        CallTimeoutError: it has been cancelled for having run too long.
    """
    ticket, known, limit = aside
    known.__exit__(None if error is None else type(error))
    if limit is None:
        settle_block(circuit, ticket, began, known, error)
    else:
        await limit.end(partial(settle_block, circuit, ticket, began, known), error)
