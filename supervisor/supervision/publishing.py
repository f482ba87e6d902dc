"""The events of one supervisor: numbered, and delivered to all who listen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from weakref import WeakSet

from supervisor.circuit import Circuit
from supervisor.events import CircuitReconfigured, Event, EventStream, StateChanged
from supervisor.machine import Change, Reconfigured


class Publisher:
    """Tells a supervisor's event streams what happens to its circuits, in order."""

    def __init__(self) -> None:
        self._streams: WeakSet[EventStream] = WeakSet()
        self._sequence = 0
        self._closed = False

    def stream(self, buffer: int) -> EventStream:
        """Return a stream of everything from now on."""
        stream = EventStream(buffer)
        if self._closed:
            stream.close()
        self._streams.add(stream)
        return stream

    def publish(self, event_type: type[Event], circuit: Circuit, **details: Any) -> None:
        """Tell that something has happened to a circuit."""
        if "at" not in details:
            here = circuit.loop.runs_here()
            details["at"] = circuit.loop.time() if here else circuit.machine.latest
        self._sequence += 1
        event = event_type(sequence=self._sequence, circuit=circuit.name, **details)
        for stream in self._streams:
            stream.put(event)

    def publish_change(self, circuit: Circuit, change: Change) -> None:
        """Tell what a circuit's machine has done."""
        if isinstance(change, Reconfigured):
            self.publish(CircuitReconfigured, circuit, policy=change.policy, at=change.at)
        elif change.from_state is not change.to_state:
            self.publish(StateChanged, circuit, **asdict(change))

    def close(self) -> None:
        """Let all streams end."""
        self._closed = True
        for stream in self._streams:
            stream.close()
