"""Who is told of each call of which circuits: recorders, which write them down, and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.circuit import CallObserver, Circuit, SeveralObservers, observe_calls
from supervisor.supervision.calls import CallEvents, CallsOf

if TYPE_CHECKING:
    from supervisor.instrumentation import TraceRecorder


class Tracing:
    """That of one supervisor's circuits: what is said of all, and of single ones by name.

    Attributes:
        events: the streams that are told.
    """

    def __init__(self) -> None:
        self.events = CallEvents(self.begin)
        self._of_all: TraceRecorder | None = None
        self._of_one: dict[str, TraceRecorder | None] = {}
        self._traced: dict[Circuit, tuple[TraceRecorder, CallObserver]] = {}
        self._heard: set[Circuit] = set()

    def choose(self, recorder: TraceRecorder | None, name: str | None) -> None:
        """Let a recorder write down the calls of one circuit, or of all; None: let nobody do so."""
        if name is None:
            self._of_all, self._of_one = recorder, {}
        else:
            self._of_one[name] = recorder

    def begin(self, circuit: Circuit) -> None:
        """Have a circuit observed for all who want to be told, and for nobody else."""
        recorder = self._of_one.get(circuit.name, self._of_all)
        before, was_heard = self._traced.get(circuit), circuit in self._heard
        is_heard = bool(self.events.listeners_to(circuit.name))
        if recorder is (before and before[0]) and is_heard is was_heard:
            return
        self.end(circuit)
        observers: list[CallObserver] = []
        if recorder is not None:
            if before is None or before[0] is not recorder:
                before = recorder, recorder.of(circuit.name, circuit.loop.clock.time())
            self._traced[circuit] = before
            observers.append(before[1])
        if is_heard:
            self._heard.add(circuit)
            observers.append(CallsOf(self.events, circuit))
        if len(observers) > 1:
            observers = [SeveralObservers(*observers)]
        observe_calls(circuit, observers[0] if observers else None)

    def end(self, circuit: Circuit) -> None:
        """Forget a circuit."""
        self._traced.pop(circuit, None)
        self._heard.discard(circuit)
