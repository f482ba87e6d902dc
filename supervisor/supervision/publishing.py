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
from supervisor.supervision.listeners import Listeners


class Publisher:
    """Tells a supervisor's event streams what happens to its circuits, in order; and its history,
    what changes.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._streams = Listeners()
        self._sequence = 0
        self._closed = False
        self.outer: Publisher | None = None  # that of the supervisor that it was entered inside of
        self.tell_fleet: Callable[[Circuit, ToFleet], None] | None = None

    def add(self, stream: EventStream) -> None:
        """Tell a stream everything from now on."""
        if self._closed:
            stream.close()
        self._streams.add(stream)

    def publish(self, event_type: type[Event], circuit: Circuit, **details: Any) -> None:
        """Tell that something has happened to a circuit now."""
        self.publish_of(circuit.name, event_type, latest_time_of(circuit), **details)

    def publish_of(self, circuit: str, event_type: type[Event], at: float, **details: Any) -> None:
        """Tell something of the circuits of a name; or of "", what is no single circuit's."""
        self._sequence += 1
        event = event_type(sequence=self._sequence, at=at, circuit=circuit, **details)
        for stream in self._streams.of(circuit):
            stream.put(event)

    def publish_change(self, circuit: Circuit, told: Told) -> None:
        """Tell what a circuit's machine has done, or what it tells its fleet."""
        if isinstance(told, Transition):
            if told.from_state is not told.to_state:
                if not told.metrics_only:
                    self._history.change(circuit.name, told.from_state, told.to_state)
                self.publish_of(circuit.name, StateChanged, **asdict(told))
        elif isinstance(told, Reconfigured):
            self.publish_of(circuit.name, CircuitReconfigured, told.at, policy=told.policy)
        else:
            assert self.tell_fleet is not None
            self.tell_fleet(circuit, told)

    def tell_outer(self, circuit: Circuit, **details: Any) -> None:
        """Tell the supervisor around this one, if there is one, that it has given up a circuit."""
        if self.outer is not None:
            at = latest_time_of(circuit)
            self.outer.publish_of("", InnerGaveUp, at, inner_circuit=circuit.name, **details)

    def close(self) -> None:
        """Let all streams end."""
        self._closed = True
        for stream in self._streams:
            stream.close()


def latest_time_of(circuit: Circuit) -> float:
    """Return its event loop's time or, if that does not tell, the latest that its machine was told:
    it may be the clock that has crashed.
    """
    now = circuit.loop.time_here()
    return circuit.machine.latest if now is None else now
