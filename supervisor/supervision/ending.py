"""How single circuits of a supervisor end: told to, retired, or with all others."""

from __future__ import annotations

from weakref import ref

from supervisor.circuit import Circuit, catch_up, stop
from supervisor.events import CircuitRetired, CircuitStopped
from supervisor.supervision.keeping import Keeping
from supervisor.supervision.restarts import Restarts
from supervisor.supervision.retirement import Reason, Retirement
from supervisor.supervision.table import CircuitTable


class Ending(CircuitTable):
    """The circuits of one supervisor, for whoever ends one of them."""

    _keeping: Keeping
    _restarts: Restarts
    _retirement: Retirement

    def stop(self, name: str) -> None:
        """Stop the circuit of that name: end its actor, and refuse all further calls.

        Calls that run already may end as they like. The name is free for a new circuit, which
        begins anew: nothing is kept of this one.

        Raises:
            KeyError: there is no such circuit.
            RuntimeError: this is not the thread of the supervisor's event loop.
        """
        circuit = self._circuits[name]
        circuit.check_thread()
        self._keeping.forget(circuit)
        self._stop(circuit)

    def _retire(self, circuit: Circuit, reason: Reason) -> None:
        """Stop a circuit, so that whoever calls it starts a successor, which hears of no report to
        the one that has been retired.
        """
        circuit.retired_by = ref(self)
        self._keeping.retire(circuit)
        self._end(circuit)
        self._publisher.publish(CircuitRetired, circuit, reason=reason)

    def _stop(self, circuit: Circuit) -> None:
        self._end(circuit)
        self._publisher.publish(CircuitStopped, circuit)

    def _forget(self, circuit: Circuit) -> None:
        self._keeping.forget(circuit)

    def _end(self, circuit: Circuit) -> None:
        """Stop a circuit, and forget it, but for what is kept."""
        self._remove(circuit)
        self._restarts.forget(circuit)
        self._retirement.forget(circuit)
        try:
            catch_up(circuit, self._publisher.publish_change)
        finally:
            stop(circuit)
            self._membership.forget(circuit)
            self._keeping.end(circuit)
