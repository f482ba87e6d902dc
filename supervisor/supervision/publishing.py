"""The events of one supervisor: numbered, and delivered to all who listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from supervisor.circuit import Circuit
from supervisor.events import (
    CircuitReconfigured,
    Event,
    EventStream,
    InnerGaveUp,
    StateChanged,
)
from supervisor.machine import Reconfigured, ToFleet, Told, Transition
from supervisor.supervision.figures import History
from supervisor.supervision.streams import Streams


class Publisher:
    """Tells a supervisor's event streams what happens to its circuits, in order; and its history,
    what changes.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._streams = Streams()
        self._sequence = 0
        self._closed = False
        self.outer: Publisher | None = None  # that of the supervisor that it was entered inside of
        self.tell_fleet: Callable[[Circuit, ToFleet], None] | None = None

    def stream(self, buffer: int, circuit: str | None = None) -> EventStream:
        """Return a stream of everything from now on, or of all that happens to one circuit."""
        stream = EventStream(buffer, circuit)
        self.add(stream)
        return stream

    def add(self, stream: EventStream) -> None:
        """Tell a stream everything from now on."""
        if self._closed:
            stream.close()
        self._streams.add(stream)

    def publish(self, event_type: type[Event], circuit: Circuit, **details: Any) -> None:
        """Tell that something has happened to a circuit."""
        if "at" not in details:
            now = circuit.loop.time_here()
            details["at"] = circuit.machine.latest if now is None else now
        self._sequence += 1
        self._put(event_type(sequence=self._sequence, circuit=circuit.name, **details))

    def publish_of(self, circuit: str, event_type: type[Event], at: float, **details: Any) -> None:
        """Tell something of the circuits of a name; or of "", what is no single circuit's."""
        self._sequence += 1
        self._put(event_type(sequence=self._sequence, at=at, circuit=circuit, **details))

    def publish_change(self, circuit: Circuit, told: Told) -> None:
        """Tell what a circuit's machine has done, or what it tells its fleet."""
        if isinstance(told, Transition):
            if told.from_state is not told.to_state:
                if not told.metrics_only:
                    self._history.change(circuit.name, told.from_state, told.to_state)
                self.publish(StateChanged, circuit, **asdict(told))
        elif isinstance(told, Reconfigured):
            self.publish(CircuitReconfigured, circuit, policy=told.policy, at=told.at)
        else:
            assert self.tell_fleet is not None
            self.tell_fleet(circuit, told)

    def tell_outer(self, circuit: Circuit, **details: Any) -> None:
        """Tell the supervisor around this one, if there is one, that it has given up a circuit."""
        if self.outer is not None:
            now = circuit.loop.time_here()
            at = circuit.machine.latest if now is None else now
            self.outer.publish_of("", InnerGaveUp, at, inner_circuit=circuit.name, **details)

    def _put(self, event: Event) -> None:
        for stream in self._streams:
            stream.put(event)

    def close(self) -> None:
        """Let all streams end."""
        self._closed = True
        self._streams.close()
