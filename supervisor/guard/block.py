"""The `async with` blocks that the running task is in, by whatever breakers.

One breaker serves many tasks at a time, so its blocks cannot be kept in the breaker.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeAlias

from supervisor.circuit import Circuit, Ticket
from supervisor.guard.timeouts import TimeLimit

Block: TypeAlias = "tuple[object, Circuit, Ticket, TimeLimit | None, Block | None]"
"""Of one breaker, and the block round it: a linked list, innermost first."""

blocks: ContextVar[Block | None] = ContextVar("supervisor.blocks", default=None)


def leave_block(breaker: object) -> tuple[Circuit, Ticket, TimeLimit | None]:
    """Take the innermost block of `breaker` out of the list, and return what it was given."""
    block = blocks.get()
    inner: list[Block] = []  # other breakers' blocks, when an async generator mixes the order
    while block is not None and block[0] is not breaker:
        inner.append(block)
        block = block[4]
    if block is None:
        raise RuntimeError(
            f"the block of {breaker!r} was entered in another context than it is left in;"
            " guard an async generator with a permit: `with await breaker.acquire():`"
        )
    _, circuit, grant, limit, outer = block
    for other in reversed(inner):
        outer = (*other[:4], outer)
    blocks.set(outer)
    return circuit, grant, limit
