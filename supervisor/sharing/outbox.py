"""What a member still has to ask the store: in order for each circuit, at once for many."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

Errand = TypeVar("Errand")

AT_ONCE: Final = 100
"""Circuits that something is asked for at a time."""


class Outbox(Generic[Errand]):
    """A queue for each circuit that there is something to ask for."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Errand]] = {}  # of circuits whose turn is yet to come
        self._sending: dict[str, deque[Errand]] = {}  # and of those whose turn it is
        self._stirred = anyio.Event()

    def put(self, circuit: str, errand: Errand) -> None:
        """Let that be asked for, too."""
        queue = self._sending.get(circuit)
        if queue is None:
            queue = self._queues.setdefault(circuit, deque())
        queue.append(errand)
        self._stirred.set()

    def clear(self) -> None:
        """Let nothing be asked for any more."""
        self._queues.clear()
        self._sending.clear()

    async def send_all(
        self,
        send: Callable[[Errand], Awaitable[None]],
        group: TaskGroup,
        has_ended: Callable[[], bool],
    ) -> None:
        """Send what there is and what comes, until there is nothing left and that is the end."""
        while self._queues or self._sending or not has_ended():
            while self._queues and len(self._sending) < AT_ONCE:
                circuit = next(iter(self._queues))
                self._sending[circuit] = queue = self._queues.pop(circuit)
                group.start_soon(self._send_in_order, circuit, queue, send)
            self._stirred = anyio.Event()
            await self._stirred.wait()

    def stir(self) -> None:
        """Let `send_all` look whether that is the end."""
        self._stirred.set()

    async def _send_in_order(
        self, circuit: str, queue: deque[Errand], send: Callable[[Errand], Awaitable[None]]
    ) -> None:
        while queue:
            await send(queue.popleft())
        del self._sending[circuit]
        self._stirred.set()
