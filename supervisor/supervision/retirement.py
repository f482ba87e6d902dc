"""Which circuits may be retired: those that nobody uses, and that have nothing to remember.

A circuit counts its calls anyway. So whoever looks at that number twice knows whether one has
been started in between, and no call has to read the clock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from supervisor.circuit import Circuit
from supervisor.machine import CircuitState

LOOKS: Final = 8
"""How often circuits are looked at in the time for which one has to be idle."""

_NEVER: Final = -1  # how many calls had been started when it was looked at
_FORGETTABLE: Final = frozenset({CircuitState.CLOSED, CircuitState.HALF_OPEN})


def is_idle(circuit: Circuit) -> bool:
    """Whether no call of it runs or waits, and it is closed or half-open.

    A circuit that is open, in a state set by hand, or given up has something to remember.
    """
    if not circuit.running:
        return False
    machine = circuit.project()
    return machine.state in _FORGETTABLE and not circuit.in_flight(machine)


class Rests:
    """For how long each circuit has been idle, counted in looks."""

    def __init__(self) -> None:
        self._rests: dict[Circuit, tuple[int, int]] = {}  # calls started, looks while idle

    def look_at(self, circuit: Circuit) -> bool:
        """Look at it again, and return whether it has been idle for `LOOKS` looks.

        The first look that finds it idle may come up to two intervals after its last call: one
        look has seen that call begin. So it is idle for a quarter more than `LOOKS` at most.
        """
        started, looks = self._rests.get(circuit, (_NEVER, 0))
        looks = looks + 1 if circuit.started == started and is_idle(circuit) else 0
        self._rests[circuit] = (circuit.started, looks)
        return looks > LOOKS

    def forget(self, circuit: Circuit) -> None:
        """Drop what is known of it."""
        self._rests.pop(circuit, None)


class SecondChances:
    """Which circuit goes when there are too many: the second-chance algorithm.

    The circuits are looked at in turn, in the order in which they were added. One that has been
    called since it was looked at last, or has not been looked at yet, is spared once. It needs no
    order by the time of use, which each call would have to keep. (Corbató, *A Paging Experiment
    with the Multics System*, 1968)
    """

    def __init__(self) -> None:
        self._next: OrderedDict[Circuit, int] = OrderedDict()  # calls started, when looked at

    def add(self, circuit: Circuit) -> None:
        """Let it be looked at, after all others."""
        self._next[circuit] = _NEVER

    def choose(self) -> Circuit | None:
        """Return the first idle circuit that has had its second chance, or None."""
        for _ in range(2 * len(self._next)):  # who is spared in one round is not in the next
            circuit, started = self._next.popitem(last=False)
            self._next[circuit] = circuit.started
            if circuit.started == started and is_idle(circuit):
                return circuit
        return None

    def forget(self, circuit: Circuit) -> None:
        """Look at it no more."""
        self._next.pop(circuit, None)
