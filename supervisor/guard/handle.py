"""A circuit by name, as its users read it and tell it what to do by hand."""

from __future__ import annotations

from typing import Self, Unpack

from supervisor.arguments import check_name, shown
from supervisor.circuit import (
    Circuit,
    Statistics,
    force,
    project,
    reconfigure,
    reset,
    statistics_of,
)
from supervisor.guard.copies import Copied
from supervisor.guard.entered import entered_last
from supervisor.guard.joining import BY_NAME, OWNED, find_to_change, supervisor_of
from supervisor.guard.streaming import Streaming
from supervisor.loop import read_settings
from supervisor.machine import CircuitState
from supervisor.policy import DEFAULT, FurtherFields, Policy, PolicyFields, given_policy
from supervisor.settings import app_settings


class CircuitHandle(Streaming, Copied):
    """One circuit by name; see `CircuitBreaker`, which guards calls by it as well."""

    __slots__ = ("__weakref__", "_binding", "_circuit")

    def __init__(
        self,
        name: str,
        failure_threshold: int = DEFAULT,
        recovery_timeout: float = DEFAULT,
        success_threshold: int = DEFAULT,
        *,
        policy: Policy | None = None,
        **fields: Unpack[FurtherFields],
    ) -> None:
        if callable(name):
            raise TypeError(
                f"CircuitBreaker needs a circuit's name, got {shown(name)}; to decorate a function,"
                ' write `@CircuitBreaker("name")`'
            )
        given = {
            "failure_threshold": failure_threshold,
            "recovery_timeout": recovery_timeout,
            "success_threshold": success_threshold,
            **fields,
        }
        asked = given_policy("CircuitBreaker", policy, given, ("name", "policy"))
        self._circuit = Circuit(check_name(name), asked)
        self._binding = BY_NAME

    @classmethod
    def of(cls, circuit: Circuit) -> Self:
        """Return a breaker for that very circuit, which ends with it unless it is retired."""
        breaker = cls.__new__(cls)
        breaker._circuit = circuit
        breaker._binding = OWNED
        return breaker

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._circuit.name

    @property
    def policy(self) -> Policy:
        """The policy that the circuit uses."""
        return self._find().latest_policy

    @property
    def failure_threshold(self) -> int:
        """Failures that open the circuit: in a row, or within the window."""
        return self.policy.failure_threshold

    @property
    def recovery_timeout(self) -> float:
        """Seconds that the circuit stays open."""
        return self.policy.recovery_timeout

    @property
    def success_threshold(self) -> int:
        """Successful probes that close the circuit again."""
        return self.policy.success_threshold

    @property
    def probe_timeout(self) -> float:
        """Seconds after which a running probe counts as failed."""
        return self.policy.probe_timeout

    @property
    def state(self) -> CircuitState:
        """The state now, with every outcome counted that has been reported so far."""
        return project(self._find()).state

    @property
    def failure_count(self) -> int:
        """Consecutive failures, or those in the window, with every outcome counted that has been
        reported so far.
        """
        return project(self._find()).failure_count

    @property
    def retry_after(self) -> float:
        """Seconds until a refused call may be admitted; 0.0 unless the circuit is open, infinite
        if it was opened by hand.
        """
        machine = project(self._find())
        return machine.retry_after(machine.latest)

    def statistics(self) -> Statistics:
        """Return all figures as of now, in one frozen record."""
        return statistics_of(self._find())

    def reset(self) -> None:
        """Close the circuit and forget its failures; calls in flight count no more.

        A state that was set by hand stays, until `release`.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop; or the circuit is
                kept, and no event loop is running.
        """
        reset(self._keep(find_to_change(self._binding, self._circuit)))

    def force_open(self, everywhere: bool = False) -> None:
        """Refuse every call until `release`: isolate the dependency (Polly: Isolate).

        Like the other states that are set by hand, it is the circuit's and shared by all its
        breakers, so the circuit must be there: ask a supervisor for it, or use it first.

        Args:
            everywhere: whether it is set for all that share the circuit, until it is released for
                all. What is set for this circuit alone goes before that.

        Raises:
            RuntimeError: the circuit is not running yet, or on another thread's event loop; or it
                is not shared, or the fleet cannot be reached now.
        """
        self._force(CircuitState.FORCED_OPEN, everywhere)

    def force_close(self, everywhere: bool = False) -> None:
        """Admit every call until `release`, and count outcomes without ever opening for them.

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.FORCED_CLOSED, everywhere)

    def disable(self, everywhere: bool = False) -> None:
        """Admit every call until `release`, and let no outcome count (resilience4j: DISABLED).

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.DISABLED, everywhere)

    def only_measure(self, everywhere: bool = False) -> None:
        """Admit every call until `release`, and count what it would have refused.

        (resilience4j: METRICS_ONLY)

        What it would have done shows in `statistics()`, as `would_be` and `would_have_refused`,
        and in `StateChanged` events, as `metrics_only`.

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.METRICS_ONLY, everywhere)

    def release(self, everywhere: bool = False) -> None:
        """Leave a state that was set by hand: the circuit is CLOSED, with nothing remembered. If it
        is shared, it is in the fleet's state again; released `everywhere`, all are CLOSED.

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.CLOSED, everywhere)

    def reconfigure(self, policy: Policy | None = None, **fields: Unpack[PolicyFields]) -> None:
        """Go on by another policy, with the state and the counts that there are.

        Calls that have been admitted are judged by the policy of that time. Thresholds are looked
        at from the next outcome on. Other breakers of that name need not be told.

        Args:
            policy: the policy to go by; None: the one that there is.
            fields: fields of `Policy`, which go before those of `policy`.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range, and
                nothing has changed.
        """
        circuit = self._find()
        base = circuit.latest_policy if policy is None else policy
        changed = given_policy("CircuitBreaker.reconfigure", base, fields, ("policy",))
        if circuit is not self._circuit and not circuit.running:  # there is none here yet
            circuit = self._circuit = Circuit(circuit.name, changed)
        reconfigure(circuit, changed)

    def _force(self, state: CircuitState, everywhere: bool) -> None:
        circuit = self._keep(find_to_change(self._binding, self._circuit))
        if not circuit.running:
            raise RuntimeError(
                f"circuit {circuit.name!r} is not running here, so it has no state that could be"
                " set; ask a supervisor for it, as `supervisor.circuit(name)`, let one adopt this"
                " breaker, as `supervisor.adopt(breaker)`, or use it first"
            )
        if everywhere:
            supervisor_of(circuit).force_everywhere(circuit, state)
        else:
            force(circuit, state)

    def __repr__(self) -> str:
        try:
            state = f" {self.state.value}"
        except RuntimeError:  # this is not the thread of its event loop
            state = ""
        return f"<CircuitBreaker {self.name!r}{state}>"

    async def _here(self) -> Circuit:
        """Return the circuit to call; the shortest paths have these lines written out."""
        circuit = self._circuit
        if (home := circuit.home).where() != home.place or home.turn not in home.turns:
            circuit = await self._begin()
        return circuit

    async def _begin(self) -> Circuit:
        """Join, and let the event loop go on while the files are read that this may need."""
        if not app_settings.knows_circuits and entered_last() is None:
            await read_settings()
        return self._join()

    def _join(self) -> Circuit:
        """Join the circuit of this name that runs on the running event loop, or start it."""
        return self._keep(self._binding.join(self._circuit))

    def _find(self) -> Circuit:
        """Return the circuit to read: like `_join`, but nothing is started by reading."""
        return self._keep(self._binding.find(self._circuit))

    def _keep(self, circuit: Circuit) -> Circuit:
        if circuit.running:  # and is not a stand-in while tasks are cancelled
            self._circuit = circuit
        return circuit


CircuitHandle.__init__.__qualname__ = "CircuitBreaker.__init__"  # errors name what users call
