"""What the user asked for, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Backend = Literal["asyncio", "trio"]
ClientName = Literal["httpx", "httpx2", "aiohttp"]

DEAD_FROM: Final = 0.3
"""The part of a pass after which the server dies."""

DEAD_UNTIL: Final = 0.7
"""The part of a pass after which it is back."""

BUCKETS: Final = 40
"""How many times the request rate is measured in a pass; the outage begins and ends with one."""


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why."""


class UnusableError(DemoError):
    """Something that was asked for is not there, or cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One demo: twice the same pass, without and with circuits, or without and with sharing them.

    Attributes:
        backend: the event loop; a fleet has asyncio and trio in turn.
        workers: agents that work at the same time.
        seconds: the length of one pass.
        output: where the picture goes.
        client: the package whose guarded client takes the place of the decorators' circuits.
        think: mean seconds that an agent thinks between two calls.
        fleet: processes that the agents are shared out among, which share a circuit; 0: none.
        store: the URL of the server that they share it through; by default one is started.
    """

    backend: Backend = "asyncio"
    workers: int = 200
    seconds: float = 12.0
    output: Path = Path("demo.png")
    client: ClientName | None = None
    think: float = 1.0
    fleet: int = 0
    store: str | None = None

    @property
    def dead_from(self) -> float:
        """Seconds into a pass at which the server dies."""
        return self.seconds * DEAD_FROM

    @property
    def dead_until(self) -> float:
        """Seconds into a pass at which the server is back."""
        return self.seconds * DEAD_UNTIL

    @property
    def bucket(self) -> float:
        """Seconds for which requests are counted together."""
        return self.seconds / BUCKETS

    @property
    def recovery_window(self) -> float:
        """Seconds in which nearly all calls must succeed for the service to count as back."""
        return self.seconds / 12

    def is_dead(self, at: float) -> bool:
        """Whether the server is dead so many seconds into a pass."""
        return self.dead_from <= at < self.dead_until

    def recovery_timeout(self, patience: float) -> float:
        """Return a circuit's recovery timeout, at a scale that fits into the outage."""
        return self.seconds / 12 * patience
