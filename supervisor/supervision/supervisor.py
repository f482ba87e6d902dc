"""The supervisor: it starts the actors, watches them, restarts them, and ends them."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, get_args
from weakref import WeakSet

import anyio
from anyio.lowlevel import checkpoint, current_token

from supervisor.arguments import check_choice, check_count, check_name, check_seconds, shown
from supervisor.circuit import Circuit, Statistics, Verdict, catch_up, run_actor
from supervisor.errors import (
    CircuitCrashedError,
    PolicyConflictError,
    TooManyCircuitsError,
    describe,
)
from supervisor.events import (
    CircuitGivenUp,
    CircuitReconfigured,
    CircuitRestarted,
    CircuitRetired,
    CircuitStarted,
    CircuitStopped,
    Event,
    EventStream,
    StateChanged,
)
from supervisor.guard import CircuitBreaker, current
from supervisor.instrumentation import log_events
from supervisor.loop import EventLoop, Tasks, can_be_started, someone_goes_on
from supervisor.machine import Change, CircuitState, Reconfigured
from supervisor.policy import Policy, fields_of, shared_policy
from supervisor.recording import Recording
from supervisor.supervision.retirement import LOOKS, Rests, SecondChances

AT_A_TIME: Final = 100
"""Circuits that are looked at before the event loop has its next turn."""


class Supervisor(Mapping[str, CircuitBreaker]):
    """Owns the circuits of an event loop, each of them one task, while its block lasts.

    `async with Supervisor() as supervisor:` makes it the event loop's current one, which
    breakers and decorators join. It is a mapping from names to breakers. Leaving the block, in
    whatever way, ends every circuit and answers everybody who waits for one.

    Args:
        max_restarts: crashes of one circuit's actor that are mended within `restart_period`,
            0 or more.
        restart_period: seconds, more than 0.
        on_give_up: what happens at one crash more.
            "escalate": the block is cancelled, and raises `CircuitCrashedError`;
            "allow": calls of that circuit pass unguarded from then on;
            "refuse": they raise `CircuitBreakerOpenError` with an infinite `retry_after`.
        idle_timeout: seconds, more than 0, after which an idle circuit is retired; it may take
            a quarter more. None: never.
        max_circuits: circuits, 1 or more, that there may be at a time. None: any number.
        on_full: what happens when one more is to be started.
            "retire": an idle circuit is retired for it, and `TooManyCircuitsError` is raised if
            there is none;
            "refuse": `TooManyCircuitsError` is raised.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        *,
        max_restarts: int = 3,
        restart_period: float = 60.0,
        on_give_up: Literal["escalate"] | Verdict = "escalate",
        idle_timeout: float | None = None,
        max_circuits: int | None = None,
        on_full: Literal["retire", "refuse"] = "retire",
    ) -> None:
        if idle_timeout is not None:
            idle_timeout = check_seconds("idle_timeout", idle_timeout)
        if max_circuits is not None:
            check_count("max_circuits", max_circuits)
        check_choice("on_full", on_full, ("retire", "refuse"))
        check_choice("on_give_up", on_give_up, ("escalate", *get_args(Verdict)))
        self.max_restarts = check_count("max_restarts", max_restarts, at_least=0)
        self.restart_period = check_seconds("restart_period", restart_period)
        self.on_give_up: Literal["escalate"] | Verdict = on_give_up
        self.idle_timeout = idle_timeout
        self.max_circuits = max_circuits
        self.on_full: Literal["retire", "refuse"] = on_full
        self._circuits: dict[str, Circuit] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._streams: WeakSet[EventStream] = WeakSet()
        self._sequence = 0
        self._emit = self._publish_change  # bound once, not once per circuit
        self._loop: EventLoop | None = None  # once it takes circuits
        # Besides actors, None stands for the task that logs, an event for the one that sweeps.
        self._tasks: Tasks[Circuit | anyio.Event | None] | None = None
        self._sweeping: anyio.Event | None = None  # set when it is to end
        self._rests = Rests()
        self._second_chances = SecondChances()
        self._crashes: dict[str, deque[float]] = {}  # times, of circuits that have crashed
        self._block: anyio.CancelScope | None = None
        self._closed = False
        self._loop_ends = False
        self._escalated: CircuitCrashedError | None = None

    @classmethod
    def start_default(cls) -> Supervisor:
        """Start the supervisor of an event loop where nobody entered one; it ends with the loop.

        If it has to give up a circuit, that circuit's calls pass unguarded: there is nobody to
        escalate to. So do calls that are made while the loop is ending.
        """
        supervisor = cls(on_give_up="allow")
        loop = EventLoop(current_token())
        if can_be_started():
            supervisor._open(loop, contextvars.Context())
        else:
            supervisor._loop = loop
            supervisor._loop_ends = True
        return supervisor

    @property
    def is_default(self) -> bool:
        """Whether it was started because nobody had entered one."""
        return self._block is None

    async def __aenter__(self) -> Supervisor:
        if self._loop is not None:
            raise RuntimeError("a Supervisor can be entered only once; make a new one")
        # The context of the block, not that of the request which happens to start a circuit:
        # an actor would keep alive all that the request has in it.
        self._block = anyio.CancelScope()
        self._open(EventLoop(current_token()), contextvars.copy_context())
        self._block.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._block is not None
        assert self._tasks is not None
        self._close()
        current.leave(self)
        try:
            await self._tasks.join()
        finally:
            try:
                swallowed = self._block.__exit__(exc_type, exc, traceback)
            finally:
                # Not in the place of an exit or an interrupt of the block's own.
                own = not isinstance(exc, (KeyboardInterrupt, SystemExit, GeneratorExit))
                if own and self._escalated is not None:
                    raise self._escalated
        return swallowed

    def circuit(self, name: str, **policy: Any) -> CircuitBreaker:
        """Return the breaker of that name, of a circuit that is started if there is none yet.

        Args:
            name: 1 to 255 printable characters.
            policy: fields of `Policy`; those left out have its defaults.

        Raises:
            PolicyConflictError: the circuit exists, and a field given here differs from its.
            RuntimeError: the supervisor's block has not been entered yet, or has been left.
            TooManyCircuitsError: there are `max_circuits`, and none may be retired for it.
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
        """
        asked = shared_policy(**policy)
        name = check_name(name)
        circuit = self._circuits.get(name)
        if circuit is None:
            self._new_circuit(name, asked)
        else:
            _check_policy(circuit, {field: getattr(asked, field) for field in policy})
        return self._breakers[name]

    def join(self, name: str, policy: Policy) -> Circuit:
        """Return the circuit of that name, started if there is none yet; see `circuit`."""
        if not isinstance(policy, Policy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"policy must be a Policy, got {shown(policy)}")
        name = check_name(name)
        circuit = self._circuits.get(name) or self._new_circuit(name, policy)
        if circuit.latest_policy != policy:
            _check_policy(circuit, fields_of(policy))
        return circuit

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of that name, or None."""
        return self._circuits.get(name)

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

    def stop(self, name: str) -> None:
        """Stop the circuit of that name: end its actor, and refuse all further calls.

        Calls that run already may end as they like. The name is free for a new circuit.

        Raises:
            KeyError: there is no such circuit.
            RuntimeError: this is not the thread of the supervisor's event loop.
        """
        circuit = self._circuits[name]
        circuit.check_thread()
        self._end(circuit)
        self._publish(CircuitStopped, circuit)

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
        circuit = self._circuits[name]
        check_count("limit", limit)
        self._catch_up(circuit)
        circuit.recording = Recording(
            name, circuit.machine, limit, partial(self._catch_up, circuit)
        )
        return circuit.recording

    def statistics(self) -> dict[str, Statistics]:
        """Return the figures of every circuit that there is as of now, by name."""
        return {name: circuit.statistics() for name, circuit in self._circuits.items()}

    def events(self, buffer: int = 1024) -> EventStream:
        """Return a stream of everything that happens to circuits from now on.

        Args:
            buffer: events, 1 or more, that may wait for a listener before it misses some.

        Raises:
            RuntimeError: this is not the supervisor's event loop.
            TypeError, ValueError: `buffer` is of the wrong type or out of range.
        """
        stream = EventStream(buffer)
        if self._closed:
            stream.close()
        elif self._loop is not None and not self._loop.runs_here():
            raise RuntimeError("events must be asked for on the supervisor's event loop")
        self._streams.add(stream)
        return stream

    def _open(self, loop: EventLoop, context: contextvars.Context) -> None:
        """Take circuits from now on, as the event loop's current supervisor."""
        self._loop = loop
        self._tasks = Tasks(self._loop, context, self._task_ended)
        self._tasks.start("supervisor log", None, self._log(self.events()))
        current.enter(self)

    def _close(self) -> None:
        """Stop all circuits, and let the event streams end."""
        self._closed = True
        for name, circuit in list(self._circuits.items()):
            circuit.block_left = not self.is_default
            self.stop(name)
        if self._sweeping is not None:
            self._sweeping.set()
        for stream in self._streams:
            stream.close()

    def _new_circuit(self, name: str, policy: Policy) -> Circuit:
        if self._loop is None:
            raise RuntimeError("enter the supervisor first: `async with Supervisor() as ...`")
        if self._closed:
            raise RuntimeError(f"the supervisor has ended, so it cannot start circuit {name!r}")
        if not self._loop.runs_here():
            raise RuntimeError(f"circuit {name!r} must be started on its supervisor's event loop")
        if self.max_circuits is not None and len(self) >= self.max_circuits:
            self._make_room(name, self.max_circuits)
        circuit = Circuit(name, policy, self._loop)
        if self._tasks is None or self._loop_ends:
            circuit.give_up("allow")
        else:
            self._tasks.start(name, circuit, self._watch(circuit))
            if self.idle_timeout is not None and self._sweeping is None:
                self._sweeping = anyio.Event()
                sweep = self._sweep(self._sweeping, self.idle_timeout / LOOKS)
                self._tasks.start("supervisor sweep", self._sweeping, sweep)
        self._circuits[name] = circuit
        self._breakers[name] = CircuitBreaker.of(circuit)
        if self.max_circuits is not None:
            self._second_chances.add(circuit)
        self._publish(CircuitStarted, circuit)
        return circuit

    def _make_room(self, name: str, max_circuits: int) -> None:
        """Retire a circuit, so that the one called `name` can be started."""
        idle = self._second_chances.choose() if self.on_full == "retire" else None
        if idle is None:
            why = ", and none of them is idle" if self.on_full == "retire" else ""
            raise TooManyCircuitsError(
                f"circuit {name!r} was not started: there are max_circuits={max_circuits}"
                f" already{why}; stop one that is not needed any more, or raise max_circuits"
            )
        self._retire(idle, "full")

    async def _sweep(self, over: anyio.Event, interval: float) -> None:
        """Look at all circuits again and again while there are any, and retire idle ones."""
        while self._circuits:
            with anyio.move_on_after(interval):
                await over.wait()
            for number, circuit in enumerate(tuple(self._circuits.values()), 1):
                if circuit.running and self._rests.look_at(circuit):
                    self._retire(circuit, "idle")
                if number % AT_A_TIME == 0:
                    await checkpoint()
        self._sweeping = None

    def _retire(self, circuit: Circuit, reason: Literal["idle", "full"]) -> None:
        """Stop a circuit, so that whoever calls it starts a successor.

        The two have nothing in common but their name and policy. What is reported to the one
        that has been retired, however late, does not reach the other.
        """
        circuit.retired_by = self
        self._end(circuit)
        self._publish(CircuitRetired, circuit, reason=reason)

    def _end(self, circuit: Circuit) -> None:
        """Stop a circuit, and forget it."""
        del self._circuits[circuit.name]
        del self._breakers[circuit.name]
        self._crashes.pop(circuit.name, None)
        self._rests.forget(circuit)
        self._second_chances.forget(circuit)
        catch_up(circuit, self._emit)
        circuit.stop()

    async def _log(self, events: EventStream) -> None:
        try:
            await log_events(events)  # which lasts until this supervisor closes
        finally:
            if self.is_default:
                current.leave(self)  # or the ended loop would be kept by what it keeps

    def _task_ended(self, subject: Circuit | anyio.Event | None) -> None:
        """Find out why, if neither the circuit was stopped nor this supervisor closed before."""
        if isinstance(subject, anyio.Event):
            if subject is self._sweeping:  # somebody has cancelled it
                self._sweeping = None
            return
        over = self._closed if subject is None else not subject.running
        if self.is_default and not over:
            self._tasks_cancelled()
        elif subject is not None and not over:
            self.stop(subject.name)

    def _tasks_cancelled(self) -> None:
        """Close, since somebody cancels all tasks; or the event loop of a default supervisor ends.

        Calls of tasks that clean up meanwhile pass, as far as their circuits are not open: an
        actor that was started for them would be left behind.
        """
        if someone_goes_on():
            self._close()
            return
        self._loop_ends = True
        for circuit in self._circuits.values():
            is_open = circuit.project().state is CircuitState.OPEN
            circuit.give_up("refuse" if is_open else "allow")

    async def _watch(self, circuit: Circuit) -> None:
        """Run the circuit's actor, again and again if it crashes, until it is stopped."""
        while circuit.running:
            try:
                await run_actor(circuit, self._emit)
            except Exception as crash:
                self._mend(circuit, crash)

    def _mend(self, circuit: Circuit, crash: Exception) -> None:
        """Let the actor be started again, or give it up if it has crashed too often."""
        now = circuit.loop.time()
        crashes = self._crashes.setdefault(circuit.name, deque())
        crashes.append(now)
        while now - crashes[0] >= self.restart_period:
            crashes.popleft()
        if len(crashes) <= self.max_restarts:
            circuit.restarts += 1
            self._publish(CircuitRestarted, circuit, error=describe(crash))
        else:
            self._give_up(circuit, crash)

    def _give_up(self, circuit: Circuit, crash: Exception) -> None:
        verdict = self.on_give_up
        self._publish(CircuitGivenUp, circuit, verdict=verdict, error=describe(crash))
        if verdict != "escalate":
            circuit.give_up(verdict)
            return
        assert self._block is not None
        self._escalated = CircuitCrashedError(
            f"the actor of circuit {circuit.name!r} crashed more than {self.max_restarts}"
            f" times within {self.restart_period:g} s"
        )
        self._escalated.__cause__ = crash
        self._block.cancel()
        self._close()
        current.leave(self)

    def _catch_up(self, circuit: Circuit) -> None:
        circuit.check_thread()
        catch_up(circuit, self._emit)

    def _publish_change(self, circuit: Circuit, change: Change) -> None:
        if isinstance(change, Reconfigured):
            self._publish(CircuitReconfigured, circuit, policy=change.policy, at=change.at)
        elif change.from_state is not change.to_state:
            self._publish(StateChanged, circuit, **asdict(change))

    def _publish(self, event_type: type[Event], circuit: Circuit, **details: Any) -> None:
        if "at" not in details:
            here = circuit.loop.runs_here()
            details["at"] = circuit.loop.time() if here else circuit.machine.latest
        self._sequence += 1
        event = event_type(sequence=self._sequence, circuit=circuit.name, **details)
        for stream in self._streams:
            stream.put(event)


def _check_policy(circuit: Circuit, asked: dict[str, Any]) -> None:
    """Refuse what the circuit neither goes by nor went by before it was reconfigured."""
    first = None if circuit.watch is None else circuit.watch.first_policy
    if first is not None and all(getattr(first, field) == asked[field] for field in asked):
        return
    policy = circuit.latest_policy
    for field, value in asked.items():
        has = getattr(policy, field)
        if has != value:
            raise PolicyConflictError(
                f"circuit {circuit.name!r} runs with {field}={shown(has)}, not {shown(value)};"
                " choose another name, or stop it first"
            )


def current_supervisor() -> Supervisor:
    """Return the event loop's current supervisor; start the default one if there is none.

    Raises:
        anyio.NoEventLoopError: no event loop is running.
    """
    host = current.current_host()
    return host if isinstance(host, Supervisor) else Supervisor.start_default()


def supervisors_here() -> list[Supervisor]:
    """Return the running event loop's supervisors or, where no loop runs, those of all loops
    that this thread has paused.
    """
    return [host for host in current.hosts_here() if isinstance(host, Supervisor)]


current.start_default = Supervisor.start_default
