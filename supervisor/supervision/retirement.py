"""Idle circuits are retired: those that nobody uses, and that have nothing to remember.

A circuit counts its calls anyway. So whoever looks at that number twice knows whether one has
been started in between, and no call has to read the clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Literal, Protocol

import anyio
from anyio.lowlevel import checkpoint

from supervisor.circuit import Circuit, in_flight, project
from supervisor.errors import TooManyCircuitsError
from supervisor.loop import Tasks
from supervisor.machine import CircuitState

LOOKS: Final = 8
"""How often circuits are looked at in the time for which one has to be idle."""

AT_A_TIME: Final = 100
"""Circuits that are looked at before the event loop has its next turn."""

_NEVER: Final = -1  # how many calls had been started when it was looked at
_FORGETTABLE: Final = frozenset({CircuitState.CLOSED, CircuitState.HALF_OPEN})

Reason = Literal["idle", "full"]


def is_idle(circuit: Circuit) -> bool:
    """Whether no call of it runs or waits, and it is closed or half-open.

    A circuit that is open, in a state set by hand, or given up has something to remember.
    """
    if not circuit.running:
        return False
    machine = project(circuit)
    return machine.state in _FORGETTABLE and not in_flight(circuit, machine)


class RetirementLimits(Protocol):
    """When circuits are retired; see `Supervisor`."""

    idle_timeout: float | None
    max_circuits: int | None
    on_full: Literal["retire", "refuse"]


class Retirement:
    """Which circuits of one supervisor are retired, and when.

    Args:
        limits: those of the moment.
        retire: ends a circuit for the reason that it is told.
    """

    def __init__(
        self,
        limits: RetirementLimits,
        retire: Callable[[Circuit, Reason], None],
    ) -> None:
        self._limits = limits
        self._retire = retire
        self._rests = Rests()
        self._second_chances = SecondChances()
        self._sweeping: anyio.Event | None = None  # set when that is to end

    def added(self, circuit: Circuit) -> None:
        """Look at a circuit from now on."""
        if self._limits.max_circuits is not None:
            self._second_chances.add(circuit)

    def forget(self, circuit: Circuit) -> None:
        """Look at a circuit no more."""
        self._rests.forget(circuit)
        self._second_chances.forget(circuit)

    def make_room(self, name: str, circuits: int) -> None:
        """Retire an idle circuit if so many are too many for the one called `name` to be started.

        Raises:
            TooManyCircuitsError: there is none that may be retired.
        """
        most = self._limits.max_circuits
        if most is None or circuits < most:
            return
        may_retire = self._limits.on_full == "retire"
        idle = self._second_chances.choose() if may_retire else None
        if idle is None:
            why = ", and none of them is idle" if may_retire else ""
            raise TooManyCircuitsError(
                f"circuit {name!r} was not started: there are max_circuits={most}"
                f" already{why}; stop one that is not needed any more, or raise max_circuits"
            )
        self._retire(idle, "full")

    def sweep_in(self, tasks: Tasks[Callable[[], None]], circuits: Mapping[str, Circuit]) -> None:
        """Let a task look for idle circuits, as long as there are any, unless one does."""
        timeout = self._limits.idle_timeout
        if timeout is None or self._sweeping is not None:
            return
        over = self._sweeping = anyio.Event()
        work = self._sweep(over, timeout / LOOKS, circuits)
        tasks.start("supervisor sweep", partial(self._sweep_ended, over), work)

    def close(self) -> None:
        """Let that task end."""
        if self._sweeping is not None:
            self._sweeping.set()

    async def _sweep(
        self, over: anyio.Event, interval: float, circuits: Mapping[str, Circuit]
    ) -> None:
        """Look at all circuits again and again while there are any, and retire idle ones."""
        while circuits:
            with anyio.move_on_after(interval):
                await over.wait()
            for number, circuit in enumerate(tuple(circuits.values()), 1):
                if circuit.running and self._rests.look_at(circuit):
                    self._retire(circuit, "idle")
                if number % AT_A_TIME == 0:
                    await checkpoint()
        self._sweep_ended(over)

    def _sweep_ended(self, over: anyio.Event) -> None:
        """Let the next circuit bring another sweep; somebody may have cancelled this one."""
        if over is self._sweeping:
            self._sweeping = None


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
