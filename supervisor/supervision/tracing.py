"""Which recorder writes down the calls of which circuits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.circuit import Circuit, observe_calls

if TYPE_CHECKING:
    from supervisor.instrumentation import TraceRecorder


class Tracing:
    """That of one supervisor's circuits: what is said of all, and of single ones by name."""

    def __init__(self) -> None:
        self._of_all: TraceRecorder | None = None
        self._of_one: dict[str, TraceRecorder | None] = {}
        self._traced: dict[Circuit, TraceRecorder] = {}

    def choose(self, recorder: TraceRecorder | None, name: str | None) -> None:
        """Let a recorder write down the calls of one circuit, or of all; None: let nobody do so."""
        if name is None:
            self._of_all, self._of_one = recorder, {}
        else:
            self._of_one[name] = recorder

    def begin(self, circuit: Circuit) -> None:
        """Trace a circuit as it was chosen."""
        recorder = self._of_one.get(circuit.name, self._of_all)
        if recorder is not self._traced.get(circuit):
            self.end(circuit)
            if recorder is None:
                observe_calls(circuit, None)
            else:
                observe_calls(circuit, recorder.of(circuit.name, circuit.loop.clock.time()))
                self._traced[circuit] = recorder

    def end(self, circuit: Circuit) -> None:
        """Forget a circuit."""
        self._traced.pop(circuit, None)
