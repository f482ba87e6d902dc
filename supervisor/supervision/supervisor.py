"""The supervisor: it starts the actors, watches them, restarts them, and ends them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import TracebackType
from typing import Literal, get_args

import anyio
from anyio.lowlevel import current_token

from supervisor.arguments import check_choice, check_count, check_seconds
from supervisor.circuit import (
    Circuit,
    GivenUp,
    catch_up,
    give_up,
    project,
    stop,
)
from supervisor.errors import (
    CircuitCrashedError,
)
from supervisor.events import (
    CircuitRetired,
    CircuitStarted,
    CircuitStopped,
    EventStream,
)
from supervisor.guard import enter, leave, start_default_by
from supervisor.instrumentation import log_events
from supervisor.loop import EventLoop, Tasks, can_be_started, someone_goes_on
from supervisor.machine import CircuitState
from supervisor.policy import Policy
from supervisor.supervision.restarts import Restarts
from supervisor.supervision.retirement import Retirement
from supervisor.supervision.table import CircuitTable


class Supervisor(CircuitTable):
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
        on_give_up: Literal["escalate"] | GivenUp = "escalate",
        idle_timeout: float | None = None,
        max_circuits: int | None = None,
        on_full: Literal["retire", "refuse"] = "retire",
    ) -> None:
        if idle_timeout is not None:
            idle_timeout = check_seconds("idle_timeout", idle_timeout)
        if max_circuits is not None:
            check_count("max_circuits", max_circuits)
        check_choice("on_full", on_full, ("retire", "refuse"))
        check_choice("on_give_up", on_give_up, ("escalate", *get_args(GivenUp)))
        self.max_restarts = check_count("max_restarts", max_restarts, at_least=0)
        self.restart_period = check_seconds("restart_period", restart_period)
        self.on_give_up: Literal["escalate"] | GivenUp = on_give_up
        self.idle_timeout = idle_timeout
        self.max_circuits = max_circuits
        self.on_full: Literal["retire", "refuse"] = on_full
        super().__init__()
        self._restarts = Restarts(self, self._publisher, self._escalate)
        self._retirement = Retirement(self, self._retire)
        self._loop: EventLoop | None = None  # once it takes circuits
        self._actors: Tasks[Circuit] | None = None
        self._chores: Tasks[Callable[[], None]] | None = None  # by what follows each one's end
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
        assert self._actors is not None
        assert self._chores is not None
        self._close()
        leave(self)
        try:
            await self._actors.join()
            await self._chores.join()
        finally:
            try:
                swallowed = self._block.__exit__(exc_type, exc, traceback)
            finally:
                # Not in the place of an exit or an interrupt of the block's own.
                own = not isinstance(exc, (KeyboardInterrupt, SystemExit, GeneratorExit))
                if own and self._escalated is not None:
                    raise self._escalated
        return swallowed

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
        self._publisher.publish(CircuitStopped, circuit)

    def events(self, buffer: int = 1024) -> EventStream:
        """Return a stream of everything that happens to circuits from now on.

        Args:
            buffer: events, 1 or more, that may wait for a listener before it misses some.

        Raises:
            RuntimeError: this is not the supervisor's event loop.
            TypeError, ValueError: `buffer` is of the wrong type or out of range.
        """
        if not self._closed and self._loop is not None and not self._loop.runs_here():
            check_count("buffer", buffer)
            raise RuntimeError("events must be asked for on the supervisor's event loop")
        return self._publisher.stream(buffer)

    def _open(self, loop: EventLoop, context: contextvars.Context) -> None:
        """Take circuits from now on, as the event loop's current supervisor."""
        self._loop = loop
        self._actors = Tasks(loop, context, self._actor_ended)
        self._chores = Tasks(loop, context, lambda ended: ended())
        self._chores.start("supervisor log", self._log_ended, self._log(self.events()))
        enter(self)

    def _close(self) -> None:
        """Stop all circuits, and let the event streams end."""
        self._closed = True
        for name, circuit in list(self._circuits.items()):
            circuit.block_left = not self.is_default
            self.stop(name)
        self._retirement.close()
        self._publisher.close()

    def _start(self, name: str, policy: Policy) -> Circuit:
        if self._loop is None:
            raise RuntimeError("enter the supervisor first: `async with Supervisor() as ...`")
        if self._closed:
            raise RuntimeError(f"the supervisor has ended, so it cannot start circuit {name!r}")
        if not self._loop.runs_here():
            raise RuntimeError(f"circuit {name!r} must be started on its supervisor's event loop")
        self._retirement.make_room(name, len(self))
        circuit = Circuit(name, policy, self._loop)
        if self._actors is None or self._chores is None or self._loop_ends:
            give_up(circuit, "allow")
        else:
            self._actors.start(name, circuit, self._restarts.keep_running(circuit))
        self._add(circuit)
        self._retirement.added(circuit)
        if self._chores is not None and not self._loop_ends:
            self._retirement.sweep_in(self._chores, self._circuits)
        self._publisher.publish(CircuitStarted, circuit)
        return circuit

    def _retire(self, circuit: Circuit, reason: Literal["idle", "full"]) -> None:
        """Stop a circuit, so that whoever calls it starts a successor.

        The two have nothing in common but their name and policy. What is reported to the one
        that has been retired, however late, does not reach the other.
        """
        circuit.retired_by = self
        self._end(circuit)
        self._publisher.publish(CircuitRetired, circuit, reason=reason)

    def _end(self, circuit: Circuit) -> None:
        """Stop a circuit, and forget it."""
        self._remove(circuit)
        self._restarts.forget(circuit)
        self._retirement.forget(circuit)
        catch_up(circuit, self._publisher.publish_change)
        stop(circuit)

    async def _log(self, events: EventStream) -> None:
        try:
            await log_events(events)  # which lasts until this supervisor closes
        finally:
            if self.is_default:
                leave(self)  # or the ended loop would be kept by what it keeps

    def _log_ended(self) -> None:
        if self.is_default and not self._closed:
            self._tasks_cancelled()

    def _actor_ended(self, circuit: Circuit) -> None:
        """Find out why, if its circuit was not stopped before."""
        if circuit.running:
            if self.is_default:
                self._tasks_cancelled()
            else:
                self.stop(circuit.name)

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
            is_open = project(circuit).state is CircuitState.OPEN
            give_up(circuit, "refuse" if is_open else "allow")

    def _escalate(self, error: CircuitCrashedError) -> None:
        """End all circuits, and let the block raise `error`."""
        assert self._block is not None
        self._escalated = error
        self._block.cancel()
        self._close()
        leave(self)


start_default_by(Supervisor.start_default)
