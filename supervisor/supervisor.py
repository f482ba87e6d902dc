"""The supervisor: it starts the actors, watches them, restarts them, and ends them."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Any, Literal, get_args

import anyio
import anyio.abc
import sniffio
from anyio.lowlevel import EventLoopToken, current_token

from supervisor import current
from supervisor.actor import run_actor, take_last_turn
from supervisor.breaker import CircuitBreaker
from supervisor.checks import check_count, check_name, check_seconds
from supervisor.circuit import Circuit, Verdict, describe, loop_time
from supervisor.errors import CircuitCrashedError, PolicyConflictError
from supervisor.events import (
    CircuitGivenUp,
    CircuitRestarted,
    CircuitStarted,
    CircuitStopped,
    Event,
    EventStream,
    StateChanged,
)
from supervisor.logs import log_events
from supervisor.machine import Transition
from supervisor.policy import Policy
from supervisor.statistics import Statistics


class Supervisor:
    """Owns the circuits of an event loop, each of them one task, while its block lasts.

    `async with Supervisor() as supervisor:` makes it the event loop's current one, which
    breakers and decorators join. It maps names to breakers: `supervisor[name]`, `in`, `len`,
    iteration over the names, and `get`. Leaving the block, in whatever way, ends every
    circuit and answers everybody who waits for one.

    Args:
        max_restarts: crashes of one circuit's actor that are mended within `restart_period`,
            0 or more.
        restart_period: seconds, more than 0.
        on_give_up: what happens at one crash more.
            "escalate": the block is cancelled and raises a group with `CircuitCrashedError`;
            "allow": calls of that circuit pass unguarded from then on;
            "refuse": they raise `CircuitBreakerOpenError` with an infinite `retry_after`.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        *,
        max_restarts: int = 3,
        restart_period: float = 60.0,
        on_give_up: Literal["escalate"] | Verdict = "escalate",
    ) -> None:
        choices = ("escalate", *get_args(Verdict))
        if on_give_up not in choices:
            raise ValueError(f"on_give_up must be one of {choices}, got {on_give_up!r}")
        self.max_restarts = check_count("max_restarts", max_restarts, at_least=0)
        self.restart_period = check_seconds("restart_period", restart_period)
        self.on_give_up: Literal["escalate"] | Verdict = on_give_up
        self._circuits: dict[str, Circuit] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._streams: list[EventStream] = []
        self._sequence = 0
        self._token: EventLoopToken | None = None  # once it takes circuits
        self._context = contextvars.Context()  # in which the actors run
        self._tasks: anyio.abc.TaskGroup | None = None  # once it runs their actors
        self._closed = False
        self._root: object = None

    async def __aenter__(self) -> Supervisor:
        if self._tasks is not None:
            raise RuntimeError("a Supervisor can be entered only once; make a new one")
        if self._token is None:
            self._open(contextvars.copy_context())
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(log_events, self.events())
        for circuit in self._circuits.values():
            self._start_actor(circuit)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        self._close()
        # An error of the block comes out as it is. Only a cancellation concerns the task
        # group: it is the group's own if a crash is being escalated.
        if isinstance(exc, anyio.get_cancelled_exc_class()):
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        return await self._tasks.__aexit__(None, None, None)

    def circuit(self, name: str, **policy: Any) -> CircuitBreaker:
        """Return the breaker of that name, of a circuit that is started if there is none yet.

        Args:
            name: 1 to 255 printable characters.
            policy: fields of `Policy`; those left out have its defaults.

        Raises:
            PolicyConflictError: the circuit exists, and a field given here differs from its.
            RuntimeError: the supervisor's block has not been entered yet, or has been left.
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
        """
        asked = Policy(**policy)
        circuit = self._circuits.get(check_name(name)) or self._new_circuit(name, asked)
        _check_policy(circuit, {field: getattr(asked, field) for field in policy})
        return self._breakers[name]

    def join(self, name: str, policy: Policy) -> Circuit:
        """Return the circuit of that name, started if there is none yet; see `circuit`."""
        circuit = self._circuits.get(name) or self._new_circuit(name, policy)
        if circuit.policy != policy:
            _check_policy(circuit, asdict(policy))
        return circuit

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of that name, or None."""
        return self._circuits.get(name)

    def get(self, name: str) -> CircuitBreaker | None:
        """Return the breaker of that name, or None."""
        return self._breakers.get(name)

    def __getitem__(self, name: str) -> CircuitBreaker:
        return self._breakers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._breakers

    def __iter__(self) -> Iterator[str]:
        return iter(self._breakers)

    def __len__(self) -> int:
        return len(self._breakers)

    def stop(self, name: str) -> None:
        """Stop the circuit of that name: end its actor, and refuse all further calls.

        Calls that run already may end as they like. The name is free for a new circuit.

        Raises:
            KeyError: there is no such circuit.
        """
        circuit = self._circuits.pop(name)
        del self._breakers[name]
        take_last_turn(circuit, partial(self._publish_transition, circuit))
        circuit.stop()
        self._publish(CircuitStopped, circuit)

    def statistics(self) -> dict[str, Statistics]:
        """Return the figures of every circuit as of now, by name."""
        return {name: circuit.statistics() for name, circuit in self._circuits.items()}

    def events(self, buffer: int = 1024) -> EventStream:
        """Return a stream of everything that happens to circuits from now on.

        Args:
            buffer: events, 1 or more, that may wait for a listener before it misses some.
        """
        stream = EventStream(check_count("buffer", buffer))
        if self._closed:
            stream.close()
        self._streams.append(stream)
        return stream

    @classmethod
    def start_default(cls) -> Supervisor:
        """Start the supervisor of an event loop where nobody entered one; it ends with the loop.

        If it has to give up a circuit, that circuit's calls pass unguarded: there is nobody to
        escalate to.
        """
        supervisor = cls(on_give_up="allow")
        supervisor._open(contextvars.Context())

        async def run() -> None:
            async with supervisor:
                await anyio.sleep_forever()

        if sniffio.current_async_library() == "trio":
            import trio  # noqa: PLC0415  (asyncio's users need not wait for it)

            trio.lowlevel.spawn_system_task(run, name=run.__qualname__)
        else:
            loop = asyncio.get_running_loop()
            task = loop.create_task(run(), context=contextvars.Context())
            # A loop that ends at once cancels the task before its first step.
            task.add_done_callback(lambda _: supervisor._close())
            supervisor._root = task  # the loop itself keeps only a weak reference
        return supervisor

    def _open(self, context: contextvars.Context) -> None:
        """Take circuits from now on, as the event loop's current supervisor."""
        self._token = current_token()
        self._context = context
        current.enter(self)

    def _close(self) -> None:
        """Stop all circuits, and let the event streams end."""
        self._closed = True
        current.leave(self)
        for name in list(self._circuits):
            self.stop(name)
        for stream in self._streams:
            stream.close()

    def _new_circuit(self, name: str, policy: Policy) -> Circuit:
        if self._token is None:
            raise RuntimeError("enter the supervisor first: `async with Supervisor() as ...`")
        if self._closed:
            raise RuntimeError(f"the supervisor has ended, so it cannot start circuit {name!r}")
        circuit = self._circuits[name] = Circuit(name, policy, self._token)
        self._breakers[name] = CircuitBreaker.of(circuit)
        self._publish(CircuitStarted, circuit)
        if self._tasks is not None:
            self._start_actor(circuit)
        return circuit

    def _start_actor(self, circuit: Circuit) -> None:
        assert self._tasks is not None
        # In the supervisor's context: a circuit must not keep alive what the request that
        # happened to come first has in its own.
        self._context.run(self._tasks.start_soon, self._watch, circuit)

    async def _watch(self, circuit: Circuit) -> None:
        """Run the circuit's actor, again and again if it crashes, until it is given up."""
        crashes: deque[float] = deque()
        while True:
            try:
                return await run_actor(circuit, partial(self._publish_transition, circuit))
            except Exception as crash:
                now = anyio.current_time()
                crashes.append(now)
                while crashes[0] <= now - self.restart_period:
                    crashes.popleft()
                if len(crashes) > self.max_restarts:
                    return self._give_up(circuit, crash)
                circuit.restarts += 1
                self._publish(CircuitRestarted, circuit, error=describe(crash))

    def _give_up(self, circuit: Circuit, crash: Exception) -> None:
        verdict = self.on_give_up
        self._publish(CircuitGivenUp, circuit, verdict=verdict, error=describe(crash))
        if verdict != "escalate":
            return circuit.give_up(verdict)
        self.stop(circuit.name)
        raise CircuitCrashedError(
            f"the actor of circuit {circuit.name!r} crashed more than {self.max_restarts}"
            f" times within {self.restart_period:g} s"
        ) from crash

    def _publish_transition(self, circuit: Circuit, transition: Transition) -> None:
        if transition.from_state is not transition.to_state:
            self._publish(StateChanged, circuit, **asdict(transition))

    def _publish(self, event_type: type[Event], circuit: Circuit, **details: Any) -> None:
        if "at" not in details:
            now = loop_time()
            details["at"] = circuit.machine.since if now is None else now
        self._sequence += 1
        event = event_type(sequence=self._sequence, circuit=circuit.name, **details)
        self._streams = [stream for stream in self._streams if not stream.closed]
        for stream in self._streams:
            stream.put(event)


def _check_policy(circuit: Circuit, asked: dict[str, Any]) -> None:
    for field, value in asked.items():
        has = getattr(circuit.policy, field)
        if has != value:
            raise PolicyConflictError(
                f"circuit {circuit.name!r} runs with {field}={has!r}, not {value!r};"
                " choose another name, or stop it first"
            )


def current_supervisor() -> Supervisor:
    """Return the event loop's current supervisor; start the default one if there is none.

    Raises:
        anyio.NoEventLoopError: no event loop is running.
    """
    host = current.current_host() or Supervisor.start_default()
    assert isinstance(host, Supervisor)
    return host


def supervisors_here() -> list[Supervisor]:
    """Return the running event loop's supervisors or, where no loop runs, those of all loops
    that this thread has paused.
    """
    return [host for host in current.hosts_here() if isinstance(host, Supervisor)]


current.start_default = Supervisor.start_default
