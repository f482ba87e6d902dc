"""A circuit by name, as its users read it and tell it what to do by hand."""

from __future__ import annotations

from typing import ClassVar, Self, Unpack

from supervisor.arguments import check_name, shown
from supervisor.circuit import (
    Circuit,
    Statistics,
    project,
    reconfigure,
    statistics_of,
)
from supervisor.guard.block import Block
from supervisor.guard.by_hand import ByHand
from supervisor.guard.copies import Copied
from supervisor.guard.entered import entered_last
from supervisor.guard.joining import BY_NAME, OWNED
from supervisor.guard.streaming import Streaming
from supervisor.loop import let_others_go_first, read_settings_if_any
from supervisor.machine import CircuitState
from supervisor.policy import DEFAULT, FurtherFields, Policy, PolicyFields, given_policy
from supervisor.settings import app_settings


class CircuitHandle(ByHand, Streaming, Copied):
    """One circuit by name; see `CircuitBreaker`, which guards calls by it as well."""

    __slots__ = ("__weakref__", "_binding", "_circuit", "_entering")

    _entering: Block | None  # see `guard.block`

    default_policy: ClassVar[Policy | None] = None
    """What breakers go by that are made without a policy; None: the default one. A subclass gives
    it as `class Slow(CircuitBreaker, recovery_timeout=60): ...`.
    """

    def __init_subclass__(
        cls, *, policy: Policy | None = None, **fields: Unpack[PolicyFields]
    ) -> None:
        """Let the breakers of a subclass have other defaults.

        Args:
            policy: a whole policy; None: that of the class it is a subclass of.
            fields: fields of `Policy`, which go before those of `policy`.

        Raises:
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
        """
        super().__init_subclass__()
        if policy is not None or fields:
            base = cls.default_policy if policy is None else policy
            cls.default_policy = given_policy(cls.__name__, base, fields, ("policy",))

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
        base = self.default_policy if policy is None else policy
        asked = given_policy("CircuitBreaker", base, given, ("name", "policy"))
        self._circuit = Circuit(check_name(name), asked)
        self._binding = BY_NAME
        self._entering = None

    @classmethod
    def of(cls, circuit: Circuit) -> Self:
        """Return a breaker for that very circuit, which ends with it unless it is retired."""
        breaker = cls.__new__(cls)
        breaker._circuit = circuit
        breaker._binding = OWNED
        breaker._entering = None
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
        known = self._binding.rejoin(self._circuit)
        if known is not None:
            self._circuit = known
            return known
        if not app_settings.knows_running_circuits and entered_last() is None:
            await read_settings_if_any()
        try:
            return self._join()
        except Exception:  # who makes another call at once is to leave others their turns
            await let_others_go_first()
            raise

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
