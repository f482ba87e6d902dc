"""The circuits of one supervisor, by name: asked for, read, recorded, and listened to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

from anyio.lowlevel import checkpoint

from supervisor import instrumentation
from supervisor.arguments import check_count, check_name, shown
from supervisor.circuit import Circuit, Statistics, let_go, statistics_of_all
from supervisor.errors import Uncopied
from supervisor.guard import CircuitBreaker
from supervisor.instrumentation import OnChange
from supervisor.loop import EventLoop
from supervisor.machine import CircuitState
from supervisor.policy import (
    Policy,
    PolicyFields,
    check_policy_type,
    fields_of,
    given_policy,
)
from supervisor.settings import Keep
from supervisor.sharing import Sharing
from supervisor.supervision.conflicts import check_policy
from supervisor.supervision.figures import Figures, Fleet, History
from supervisor.supervision.listening import Listening
from supervisor.supervision.membership import membership
from supervisor.supervision.onlookers import Onlookers
from supervisor.supervision.publishing import Publisher
from supervisor.supervision.tracing import Tracing

if TYPE_CHECKING:
    from supervisor.instrumentation import TraceRecorder
    from supervisor.recording import Recording

AT_A_TIME: Final = 50
"""Circuits whose figures are read before the event loop has its next turn."""


class CircuitTable(Listening, Uncopied, Mapping[str, CircuitBreaker]):
    """A mapping from names to breakers, which is no other one's equal.

    Args:
        on_change: is told of each change of state; see the method.
        sharing: what circuits are shared through, if they are.
        keep: where they outlive their event loop.
    """

    no_copies = "a Supervisor belongs to its event loop"
    instead = "enter another one there"

    def __init__(
        self, on_change: OnChange | None, sharing: Sharing | None, keep: Keep | None
    ) -> None:
        self._circuits: dict[str, Circuit] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._history = History(self._circuits)
        self._publisher = Publisher(self._history)
        self._onlookers = Onlookers(self._publisher)
        self._membership = membership(sharing, keep, self._circuits, self._publisher, self._history)
        self._tracing = Tracing()
        self._loop: EventLoop | None = None  # once it takes circuits
        self._closed = False
        if on_change is not None:
            self.on_change(on_change)

    def circuit(
        self, name: str, policy: Policy | None = None, **fields: Unpack[PolicyFields]
    ) -> CircuitBreaker:
        """Return the breaker of that name, of a circuit that is started if there is none yet.

        Args:
            name: 1 to 255 printable characters.
            policy: the policy of the circuit; None: the default one.
            fields: fields of `Policy`, which go before those of `policy`.

        Raises:
            PolicyConflictError: the circuit exists, and what is given here differs from its
                policy: a field, or one of `policy`.
            RuntimeError: the supervisor's block has not been entered yet, or has been left.
            TooManyCircuitsError: there are `max_circuits`, and none may be retired for it.
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
        """
        asked = given_policy("Supervisor.circuit", policy, fields, ("name", "policy"))
        name = check_name(name)
        circuit = self._circuits.get(name)
        if circuit is None:
            self._start(name, asked)
        else:
            given = fields if policy is None else fields_of(asked)
            check_policy(circuit, {field: getattr(asked, field) for field in given})
        return self._breakers[name]

    def join(self, name: str, policy: Policy) -> Circuit:
        """Return the circuit of that name, started if there is none yet; see `circuit`."""
        check_policy_type(policy)
        name = check_name(name)
        circuit = self._circuits.get(name) or self._start(name, policy)
        if circuit.latest_policy is not policy and circuit.latest_policy != policy:
            check_policy(circuit, fields_of(policy))
        return circuit

    def adopt(self, *breakers: CircuitBreaker) -> None:
        """Start the circuits of breakers that were made by name, as in modules, and not used yet:
        so that `statistics()` has them, and they can be forced open, before their first calls.

        Raises:
            PolicyConflictError, RuntimeError, TooManyCircuitsError: see `circuit`.
            TypeError: one of them is no breaker.
        """
        for breaker in breakers:
            if not isinstance(breaker, CircuitBreaker):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"adopt needs breakers, got {shown(breaker)}")
        for breaker in breakers:
            self.join(breaker.name, breaker.policy)

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of that name, or None."""
        return self._circuits.get(name)

    def let_go(self) -> None:
        """End, since the event loop has been closed without a word: nothing can be told there."""
        self._closed = True
        for circuit in self._circuits.values():
            let_go(circuit)

    @property
    def ended(self) -> bool:
        """Whether it starts no circuits any more: its block has been left, or is being left since
        it has given one up.
        """
        return self._closed

    @property
    def fleet(self) -> Fleet | None:
        """How it stands with those that it shares circuits with; None if it shares none."""
        return self._membership.status

    def force_everywhere(self, circuit: Circuit, state: CircuitState) -> None:
        """Set a circuit's state by hand, here and for all that share it.

        Raises:
            RuntimeError: it is not shared, or nobody can be told.
        """
        self._membership.force(circuit, state)

    def statistics(self) -> dict[str, Statistics]:
        """Return the figures of every circuit that there is as of now, by name."""
        return statistics_of_all(self._circuits)

    async def collect_statistics(self) -> dict[str, Statistics]:
        """Return the figures of every circuit by name, as `statistics` does, with turns for others
        in between: each circuit's are as of the moment at which they are read.

        Circuits that end meanwhile are left out, and those that start meanwhile are not in it.

        Raises:
            RuntimeError: this is not the thread of the supervisor's event loop.
        """
        collected: dict[str, Statistics] = {}
        circuits = list(self._circuits.items())
        for first in range(0, len(circuits) or 1, AT_A_TIME):
            await checkpoint()  # before the first ones, too: after it, few messages wait anywhere
            some = circuits[first : first + AT_A_TIME]
            here = {name: each for name, each in some if self._circuits.get(name) is each}
            collected |= statistics_of_all(here)
        return collected

    def figures(self) -> Figures:
        """Return the figures of all circuits, and of those that have ended, from any thread.

        It asks no event loop and waits for nobody. Calls are counted up to now; what only a
        circuit's actor knows is as of its latest turn: see `Statistics.age`.
        """
        return self._history.read()

    def record(self, name: str, limit: int = 10_000) -> Recording:
        """Record what the circuit's actor is told from now on; an earlier recording ends.

        Args:
            name: the circuit's name.
            limit: entries, 1 or more, that are kept at least: messages, turns and transitions. At
                most twice as many are, and those of one turn.

        Raises:
            KeyError: there is no such circuit.
            RuntimeError: this is not the thread of the supervisor's event loop.
            TypeError, ValueError: `limit` is of the wrong type or out of range.
        """
        from supervisor.recording import Recording  # noqa: PLC0415  (few record anything)

        circuit = self._circuits[name]
        check_count("limit", limit)
        self._catch_up(circuit)
        catch_up = partial(self._catch_up, circuit)
        recording = Recording(name, circuit.machine, limit, catch_up, circuit.loop.clock_zero)
        others = (each for each in circuit.observers if not isinstance(each, Recording))
        circuit.observers = (*others, recording)
        return recording

    def trace(self, recorder: TraceRecorder | None, circuit: str | None = None) -> None:
        """Let a recorder write down each call that begins from now on, in the place of another.

        Calls of circuits that are traced cost some ten microseconds more.

        Args:
            recorder: it is not closed when the supervisor ends; None: write down nothing more.
            circuit: the name of the one that is traced, which need not be there yet; None: all.

        Raises:
            RuntimeError: this is not the thread of the supervisor's event loop.
            TypeError, ValueError: `recorder` is none, or has been closed, or `circuit` is no name.
        """
        if recorder is not None and not isinstance(recorder, instrumentation.TraceRecorder):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"recorder must be a TraceRecorder, got {shown(recorder)}")
        if recorder is not None:
            recorder.check_open()
        name = None if circuit is None else check_name(circuit)
        known = self._those(name)
        for each in known:
            each.check_thread()
        self._tracing.choose(recorder, name)
        for each in known:
            self._tracing.begin(each)

    @abstractmethod
    def _start(self, name: str, policy: Policy) -> Circuit:
        """Start a circuit of that name, of which there is none yet."""

    def _loop_to_start_on(self, name: str) -> EventLoop:
        """Return the event loop of a circuit that is about to start.

        Raises:
            RuntimeError: none can be started now, or not here.
        """
        if self._loop is None:
            raise RuntimeError("enter the supervisor first: `async with Supervisor() as ...`")
        if self._closed:
            raise RuntimeError(f"the supervisor has ended, so it cannot start circuit {name!r}")
        if not self._loop.runs_here():
            raise RuntimeError(f"circuit {name!r} must be started on its supervisor's event loop")
        return self._loop

    def _add(self, circuit: Circuit) -> None:
        self._history.begin(circuit)
        self._circuits[circuit.name] = circuit
        self._breakers[circuit.name] = CircuitBreaker.of(circuit)
        self._onlookers.refusals.watch(circuit)
        self._tracing.begin(circuit)

    def _remove(self, circuit: Circuit) -> None:
        self._history.end(circuit)
        del self._circuits[circuit.name]
        del self._breakers[circuit.name]
        self._onlookers.refusals.forget(circuit)
        self._tracing.end(circuit)

    def __eq__(self, other: object) -> bool:
        return self is other  # whatever circuits they have

    def __hash__(self) -> int:
        return id(self)

    def __getitem__(self, name: str) -> CircuitBreaker:
        return self._breakers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._breakers)

    def __len__(self) -> int:
        return len(self._breakers)


CircuitTable.circuit.__qualname__ = "Supervisor.circuit"  # errors name what users call
