"""The supervisor: it starts the actors, watches them, restarts them, and ends them."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, get_args

import anyio

from supervisor.arguments import check_choice, check_count, check_seconds
from supervisor.circuit import CANCELLED, Circuit, GivenUp, outlive_actor
from supervisor.errors import CircuitCrashedError
from supervisor.events import CircuitStarted
from supervisor.guard import enter, entered_last, leave, start_default_by
from supervisor.instrumentation import OnChange
from supervisor.loop import (
    EventLoop,
    ForThisTurn,
    Tasks,
    can_be_started,
    is_cancelled_here,
    someone_goes_on,
)
from supervisor.policy import Policy
from supervisor.settings import Keep, app_settings, check_keep
from supervisor.sharing import Sharing
from supervisor.supervision.ending import Ending
from supervisor.supervision.keeping import Keeping, keeping_on
from supervisor.supervision.membership import sharing_by
from supervisor.supervision.restarts import OTHER_TASK, Block, Restarts, block_for, check_pauses
from supervisor.supervision.retirement import Retirement, check_limits


class Supervisor(Ending):
    """Owns the circuits of an event loop, each of them one task, while its block lasts.

    `async with Supervisor() as supervisor:` makes it the event loop's current one, which
    breakers and decorators join. It is a mapping from names to breakers. Leaving the block, in
    whatever way, ends every circuit and answers everybody who waits for one.

    Args:
        max_restarts: crashes of one circuit's actor that are mended within `restart_period`,
            0 or more.
        restart_period: seconds, more than 0.
        restart_pause: seconds, more than 0, before the first restart within `restart_period`, and
            twice as long before each further one. Meanwhile calls run as long as that needs no
            actor; others are refused with the reason "restarting". None: no pause.
        max_restart_pause: seconds, at least `restart_pause`, that a pause lasts at most; None: any.
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
        keep: "process": circuits go on on the next event loop of this process, if the supervisor
            there has the same. None: they end with the block.
        on_change: is told of each change of state; see the method.
        sharing: what circuits are shared through with other supervisors, in whatever processes.

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
        keep: Keep | None = None,
        on_change: OnChange | None = None,
        sharing: Sharing | None = None,
        restart_pause: float | None = None,
        max_restart_pause: float | None = None,
    ) -> None:
        check_limits(idle_timeout, max_circuits, on_full)
        check_choice("on_give_up", on_give_up, ("escalate", *get_args(GivenUp)))
        self.max_restarts = check_count("max_restarts", max_restarts, at_least=0)
        self.restart_period = check_seconds("restart_period", restart_period)
        pauses = check_pauses(restart_pause, max_restart_pause)
        self.restart_pause, self.max_restart_pause = pauses
        self.on_give_up: Literal["escalate"] | GivenUp = on_give_up
        self.idle_timeout = None if idle_timeout is None else float(idle_timeout)
        self.max_circuits = max_circuits
        self.on_full: Literal["retire", "refuse"] = on_full
        self.keep: Keep | None = check_keep("keep", keep)
        super().__init__(on_change, sharing, self.keep)
        self._restarts = Restarts(self, self._publisher, self._forget, self._escalate)
        self._retirement = Retirement(self, self._retire)
        self._keeping = Keeping()
        self._actors: Tasks[Circuit] | None = None
        self._chores: Tasks[Callable[[], None]] | None = None  # by what follows each one's end
        self._block: Block | None = None
        self._loop_ends = False
        self._escalated: CircuitCrashedError | None = None

    @classmethod
    def start_default(cls) -> Supervisor:
        """Start the supervisor of an event loop where nobody entered one; it ends with the loop.

        If it has to give up a circuit, that circuit's calls pass unguarded: there is nobody to
        escalate to. So do calls that are made while the loop is ending: what stands in for a
        supervisor then serves all tasks that are cancelled, until the loop's next turn, since it
        takes a look at all tasks to know that it ends.
        """
        stand_in = _stand_in.get()
        if stand_in is not None and is_cancelled_here():
            return stand_in
        settings = app_settings.of_running_circuits
        sharing = sharing_by(settings)
        supervisor = cls(on_give_up="allow", keep=settings.keep, sharing=sharing)
        loop = EventLoop.here()
        if can_be_started(loop):
            supervisor._open(loop, contextvars.Context())
        else:
            supervisor._live_on(loop)
            supervisor._loop_ends = True
            _stand_in.keep(loop, supervisor)
        return supervisor

    @property
    def is_default(self) -> bool:
        """Whether it was started because nobody had entered one."""
        return self._block is None

    async def __aenter__(self) -> Supervisor:
        if self._loop is not None:
            raise RuntimeError("a Supervisor can be entered only once; make a new one")
        # Not the context of a request that starts a circuit: its actor would keep all that alive.
        self._block = block_for(self.on_give_up)
        self._open(EventLoop.here(), contextvars.copy_context())
        self._block.__enter__()
        try:
            await self._membership.wait_until_joined()
        except BaseException as error:  # nobody will leave a block that has not begun
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
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
            except RuntimeError as error:
                raise RuntimeError(OTHER_TASK) from error
            finally:
                # Not in the place of an exit or an interrupt of the block's own.
                own = not isinstance(exc, (KeyboardInterrupt, SystemExit, GeneratorExit))
                if own and self._escalated is not None:
                    raise self._escalated
        return swallowed

    def _open(self, loop: EventLoop, context: contextvars.Context) -> None:
        """Take circuits from now on, as the event loop's current supervisor."""
        self._live_on(loop)
        self._actors = Tasks(loop, context, self._actor_ended)
        self._chores = Tasks(loop, context, lambda ended: ended())
        self._onlookers.open(loop, self._chores, self._stop_logging, self._log_ended)
        self._membership.open(loop, self._chores)
        if isinstance(outer := entered_last(), Supervisor):
            self._publisher.outer = outer._publisher
        enter(self, loop)

    def _live_on(self, loop: EventLoop) -> None:
        self._loop = loop
        self._keeping = keeping_on(loop, self.keep)

    def _close(self) -> None:
        """Stop all circuits, and let the event streams end."""
        self._closed = True
        self._history.close(goes_on=self.keep is not None)
        for circuit in list(self._circuits.values()):
            circuit.block_left = not self.is_default
            self._stop(circuit)
        self._membership.close()
        self._retirement.close()
        self._onlookers.close()
        self._tracing.events.close()

    def _start(self, name: str, policy: Policy) -> Circuit:
        loop = self._loop_to_start_on(name)
        chores = None if self._loop_ends else self._chores
        self._retirement.make_room(name, len(self), chores)
        circuit = Circuit(name, policy, loop)
        self._keeping.begin(circuit)
        self._membership.share(circuit)
        if self._actors is None or chores is None:
            outlive_actor(circuit)
        else:
            self._keeping.watch(circuit, self.idle_timeout)
            self._actors.start(name, circuit, self._restarts.keep_running(circuit))
        self._add(circuit)
        self._retirement.added(circuit)
        if chores is not None:
            self._retirement.sweep_in(chores, self._circuits)
        self._publisher.publish(CircuitStarted, circuit)
        return circuit

    def _stop_logging(self) -> None:
        if self.is_default:
            leave(self)  # or the ended loop would be kept by what it keeps

    def _log_ended(self) -> None:
        if self.is_default and not self._closed:
            self._tasks_cancelled()

    def _actor_ended(self, circuit: Circuit) -> None:
        """Find out why, if its circuit was not stopped before."""
        if circuit.running and self.is_default:
            self._tasks_cancelled()
        elif circuit.running:
            circuit.retired_by = CANCELLED
            self._stop(circuit)

    def _tasks_cancelled(self) -> None:
        """Close, since somebody cancels all tasks; or the event loop of a default supervisor ends.

        Calls of tasks that clean up meanwhile pass, as far as their circuits are not open: an
        actor that was started for them would be left behind.
        """
        if someone_goes_on():
            for circuit in self._circuits.values():
                circuit.retired_by = CANCELLED
            self._close()
            return
        self._loop_ends = True
        for circuit in self._circuits.values():
            outlive_actor(circuit)
        self._history.close(goes_on=self.keep is not None)
        self._keeping.loop_ends()
        self._onlookers.loop_ends()

    def _escalate(self, error: CircuitCrashedError) -> None:
        """End all circuits, and let the block raise `error`."""
        self._escalated = error
        if isinstance(self._block, anyio.CancelScope):
            self._block.cancel()
        self._close()
        leave(self)


_stand_in: Final[ForThisTurn[Supervisor]] = ForThisTurn()

start_default_by(Supervisor.start_default)
