"""Each call of circuits as an event, for whoever asks for that.

A circuit is observed from the first stream on that wants its calls. When there is none any more,
the next call is the last one that pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from supervisor.circuit import Circuit
from supervisor.events import CallEnded, CallRefused, Event, EventStream
from supervisor.policy import Failure, Judgement, Outcome
from supervisor.supervision.streams import Streams


class CallEvents:
    """Those of one supervisor's circuits.

    Args:
        unheard: is told of a circuit that is observed for nobody.
    """

    def __init__(self, unheard: Callable[[Circuit], None]) -> None:
        self._unheard = unheard
        self._streams = Streams()
        self._sequence = 0

    def add(self, stream: EventStream) -> None:
        """Tell a stream of all calls from now on."""
        self._streams.add(stream)

    def listeners_to(self, circuit: str) -> list[EventStream]:
        """Return the streams that want the calls of that circuit."""
        return [stream for stream in self._streams if stream.listens_to(circuit)]

    def put(self, circuit: Circuit, event_type: type[Event], at: float, **details: Any) -> None:
        """Tell all streams that want it; nothing comes out, since it is the end of a call."""
        with suppress(Exception):
            streams = self.listeners_to(circuit.name)
            if not streams:
                self._unheard(circuit)
                return
            self._sequence += 1
            event = event_type(sequence=self._sequence, at=at, circuit=circuit.name, **details)
            for stream in streams:
                stream.put(event)

    def close(self) -> None:
        """Let all streams end."""
        self._streams.close()


class CallsOf:
    """Observes the calls of one circuit for `events`."""

    __slots__ = ("_circuit", "_events")

    def __init__(self, events: CallEvents, circuit: Circuit) -> None:
        self._events = events
        self._circuit = circuit

    def call_refused(self, asked: float, reason: str, retry: bool, wait: float | None) -> None:  # noqa: ARG002
        """Tell of it."""
        self._events.put(self._circuit, CallRefused, asked, reason=reason, retry=retry)

    def call_ended(
        self,
        asked: float,
        began: float,
        ended: float,
        judgement: Judgement,
        retry: bool,
        wait: float | None,  # noqa: ARG002
        probe: bool,
    ) -> None:
        """Tell of it."""
        failed = isinstance(judgement, Failure)
        self._events.put(
            self._circuit,
            CallEnded,
            ended,
            outcome=Outcome.FAILED if failed else judgement,
            kind=judgement if failed else None,
            duration=ended - began,
            waited=began - asked,
            probe=probe,
            retry=retry,
        )
