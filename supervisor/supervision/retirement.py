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

from supervisor.arguments import check_choice, check_count, check_seconds
from supervisor.circuit import Circuit, has_calls, in_flight, project
from supervisor.errors import TooManyCircuitsError
from supervisor.loop import LONGEST_TIMER, Tasks
from supervisor.machine import BY_HAND, CircuitState, Machine

LOOKS: Final = 8
"""How often circuits are looked at in the time for which one has to be idle."""

AT_A_TIME: Final = 100
"""Circuits that are looked at before the event loop has its next turn."""

FOR_ONE_NAME: Final = 25
"""Circuits that are looked at before a new name is refused."""

_NEVER: Final = -1  # how many calls had been started when it was looked at
_FORGETTABLE: Final = frozenset({CircuitState.CLOSED, CircuitState.HALF_OPEN})
_BY_HAND: Final = frozenset(BY_HAND)

Reason = Literal["idle", "full"]
"""Why a circuit is retired; see `CircuitRetired`."""


def check_limits(idle_timeout: object, max_circuits: object, on_full: object) -> None:
    """Refuse limits that are none; see `Supervisor`.

    Raises:
        TypeError, ValueError: one is of the wrong type or out of range.
    """
    if idle_timeout is not None:
        check_seconds("idle_timeout", idle_timeout)
    if max_circuits is not None:
        check_count("max_circuits", max_circuits)
    check_choice("on_full", on_full, ("retire", "refuse"))


def is_idle(circuit: Circuit) -> bool:
    """Whether no call of it runs or waits, and it is closed or half-open; or in a state set by
    hand, if it begins in that.

    A circuit that is open, in another state set by hand, or given up has something to remember.
    """
    if not may_be_idle(circuit):
        return False
    machine = project(circuit)
    return _is_forgettable(machine) and not in_flight(circuit, machine)


def may_be_idle(circuit: Circuit) -> bool:
    """Whether it is idle, as far as that shows without a copy of its machine: so thousands that
    are not can be passed over.
    """
    machine = circuit.machine
    if _is_forgettable(machine) or circuit.mailbox.messages:
        return circuit.running and not has_calls(circuit)
    is_due = machine.deadline <= circuit.loop.clock.time()
    return is_due and circuit.running and not has_calls(circuit)


def _is_forgettable(machine: Machine) -> bool:
    """Whether a successor would be in that state, too, or as good as that."""
    begins_in, state = machine.policy.initial_state, machine.state
    return state == begins_in if begins_in in _BY_HAND else state in _FORGETTABLE


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
        self._searching = False

    def added(self, circuit: Circuit) -> None:
        """Look at a circuit from now on."""
        if self._limits.max_circuits is not None:
            self._second_chances.add(circuit)

    def forget(self, circuit: Circuit) -> None:
        """Look at a circuit no more."""
        self._rests.forget(circuit)
        self._second_chances.forget(circuit)

    def make_room(self, name: str, circuits: int, tasks: Tasks[Callable[[], None]] | None) -> None:
        """Retire an idle circuit if so many are too many for the one called `name` to be started.

        That must not cost more where there are more of them. So only some are looked at, and if
        none of those is idle, a task looks at all others before the next name comes.

        Raises:
            TooManyCircuitsError: there is none that may be retired.
        """
        most = self._limits.max_circuits
        if most is None or circuits < most:
            return
        may_retire = self._limits.on_full == "retire"
        idle = self._second_chances.choose(FOR_ONE_NAME) if may_retire else None
        if idle is None:
            why = ", and none of them is idle" if may_retire else ""
            if may_retire and circuits > FOR_ONE_NAME:
                why = ", and none of those looked at is idle"
                self._search_in(tasks)
            raise TooManyCircuitsError(
                f"circuit {name!r} was not started: there are max_circuits={most}"
                f" already{why}; stop one that is not needed any more, or raise max_circuits"
            )
        self._retire(idle, "full")

    def _search_in(self, tasks: Tasks[Callable[[], None]] | None) -> None:
        """Let a task look at all circuits for one that may be retired, unless one does."""
        if tasks is not None and not self._searching:
            tasks.start("supervisor search", self._search_ended, self._search())
            self._searching = True

    async def _search(self) -> None:
        chances = self._second_chances
        for _ in range(0, 2 * len(chances), AT_A_TIME):
            idle = chances.choose(AT_A_TIME)
            if idle is not None:
                chances.put_first(idle)
                break
            await checkpoint()

    def _search_ended(self) -> None:
        self._searching = False

    def sweep_in(self, tasks: Tasks[Callable[[], None]], circuits: Mapping[str, Circuit]) -> None:
        """Let a task look for idle circuits, as long as there are any, unless one does."""
        timeout = self._limits.idle_timeout
        if timeout is None or self._sweeping is not None:
            return
        over = anyio.Event()
        work = self._sweep(over, min(timeout / LOOKS, LONGEST_TIMER), circuits)
        tasks.start("supervisor sweep", partial(self._sweep_ended, over), work)
        self._sweeping = over

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

    def choose(self, looks: int) -> Circuit | None:
        """Return the first idle circuit that has had its second chance; or of those that are
        looked at, the first idle one; or None.
        """
        spared: list[Circuit] = []
        for _ in range(min(looks, 2 * len(self))):
            circuit = next(iter(self._next))
            self._next.move_to_end(circuit)  # a sixth of what `popitem` and putting it back cost
            started, self._next[circuit] = self._next[circuit], circuit.started
            if circuit.started != started:
                if may_be_idle(circuit):
                    spared.append(circuit)
            elif is_idle(circuit):
                return circuit
        return next(filter(is_idle, spared), None)

    def put_first(self, circuit: Circuit) -> None:
        """Let it be the next to be looked at."""
        self._next.move_to_end(circuit, last=False)

    def __len__(self) -> int:
        return len(self._next)

    def forget(self, circuit: Circuit) -> None:
        """Look at it no more."""
        self._next.pop(circuit, None)
