"""One circuit's record: what its callers share with the actor that owns its state.

Callers read the lease, put reports into the mailbox, and ask where the lease does not answer;
the actor drains the mailbox and publishes the next lease. Everything happens on one event
loop, and nothing here awaits between reading and writing, so there is nothing to lock.
"""

from __future__ import annotations

import math
import random
from threading import get_ident
from typing import Final, Literal

from supervisor.circuit.allowance import Allowance, asks_for_more
from supervisor.circuit.calls import Ticket
from supervisor.circuit.mailbox import Mailbox
from supervisor.circuit.observers import NO_OBSERVERS
from supervisor.loop import NOWHERE, Bell, EventLoop
from supervisor.machine import (
    NO_PROBE,
    CircuitState,
    Grant,
    Lease,
    Machine,
    Message,
    Refusal,
    Settle,
)
from supervisor.policy import Outcome, Policy

BACKLOG: Final = 1024
"""Messages that may wait before callers, too, have to wait for the actor."""

GivenUp = Literal["allow", "refuse"]
"""What becomes of the calls of a circuit whose actor has been given up."""

Answer = Grant | Refusal | Exception

UNGUARDED: Final = Grant(-1, Policy())
"""Admits the calls of a circuit that has been given up; what becomes of them is not counted."""

NOT_AT_ONCE: Final = Grant(-2, Policy())
"""Stands where the shortest path looks for a grant, while it must not count successes."""

_BEFORE_FIRST_TURN: Final = Lease(
    CircuitState.CLOSED, 0, Grant(0, Policy()), slack=0, refuse_until=-math.inf, last_failure=None
)
"""Nobody is admitted, or refused, before the actor's first turn."""


class Asker:
    """A caller who waits for the actor's answer."""

    __slots__ = ("answer", "answered")

    def __init__(self, answered: Bell) -> None:
        self.answered = answered
        self.answer: Answer | None = None


NOBODY: Final[dict[int, Asker]] = {}
"""Who asks where nobody has asked yet: shared, and never changed."""


class Circuit:
    """One named circuit on one event loop.

    `headroom` is how many adverse outcomes may still be reported before the lease is no
    longer certain: while it is above 0, every call is admitted under `grant` at once. At 0,
    a call is refused at once up to the time `refuse_until`, and has to ask from then on.
    Either holds only for callers in `thread`, while `loop_is_running()`; others have to join.

    With a policy that asks for more, `allowance` holds what remains of the lease, and `headroom`
    is less than that: see there.
    """

    __slots__ = (
        "allowance",
        "askers",
        "block_left",
        "given_up",
        "grant",
        "headroom",
        "last_permit",
        "lease",
        "loop",
        "loop_is_running",
        "machine",
        "mailbox",
        "name",
        "observers",
        "refuse_until",
        "rejected",
        "restarts",
        "retired_by",
        "running",
        "started",
        "thread",
        "unsent_failures",
        "unsent_successes",
    )

    def __init__(self, name: str, policy: Policy, loop: EventLoop = NOWHERE) -> None:
        self.name = name
        self.loop = loop
        self.loop_is_running = loop.is_running
        self.thread = 0  # that of its loop, while it has an actor that has taken a turn
        self.running = loop is not NOWHERE
        self.block_left = False  # that of its supervisor
        self.retired_by: object | None = None  # that supervisor may have a successor
        self.given_up: GivenUp | None = None
        self.mailbox: Mailbox[Message] = Mailbox()
        seed = random.getrandbits(32) if policy.recovery_jitter else 0
        self.machine = Machine(policy, seed)  # the actor's: callers only copy it
        self.observers = NO_OBSERVERS
        self.started = self.rejected = self.restarts = 0
        # Reports under `grant` since the last message: first failures, then successes.
        self.unsent_failures = self.unsent_successes = 0
        self.last_permit = 0
        self.askers = NOBODY  # permit -> who asks, in the order of their asking
        self.lease = _BEFORE_FIRST_TURN
        self.grant = self.lease.grant
        self.headroom = self.lease.slack
        self.refuse_until = self.lease.refuse_until
        self.allowance = Allowance(self.lease, policy, loop.time) if asks_for_more(policy) else None

    @property
    def policy(self) -> Policy:
        """The policy that it goes by, as far as its actor knows."""
        return self.machine.policy

    @property
    def latest_policy(self) -> Policy:
        """The policy that it goes by, or will when its actor has heard of it."""
        return self.machine.policy if self.allowance is None else self.allowance.latest_policy

    @property
    def stopped(self) -> bool:
        """Whether it takes no calls any more."""
        return not self.running and self.given_up is None

    def policy_of(self, ticket: Ticket) -> Policy:
        """Return the policy by which a call is judged that has not been settled yet."""
        if isinstance(ticket, Grant):
            return ticket.policy
        assert self.allowance is not None
        return self.allowance.running_calls.grant_of(ticket).policy

    def now(self) -> float | None:
        """Return its event loop's time in seconds, or None if another or none runs here."""
        return self.loop.time() if self.running and self.loop.runs_here() else None

    def check_thread(self) -> None:
        """Refuse to be used from a thread other than that of its event loop.

        Raises:
            RuntimeError: this is another thread.
        """
        if self.running and self.loop.thread != get_ident():
            raise RuntimeError(
                f"circuit {self.name!r} belongs to the event loop of another thread;"
                " call it through anyio.from_thread"
            )

    # The way to the actor

    def messages(self) -> list[Message]:
        """Return the mailbox's messages, with the reports that have not been put in yet.

        A run of successes, or of failures that cannot open the circuit, travels as one
        message. It is cheap to make and to apply, and nothing hurries.
        """
        if self.unsent_failures:
            self._put_run(Outcome.FAILED, self.unsent_failures, None)
            self.unsent_failures = 0
        if self.unsent_successes:
            at = None if self.allowance is None else self.allowance.end_run()
            self._put_run(Outcome.SUCCEEDED, self.unsent_successes, at)
            self.unsent_successes = 0
        return self.mailbox.messages

    def put(self, message: Message) -> None:
        """Put a message behind all that was reported before."""
        self.messages()
        self._put_next(message)

    def tell_overdue(self, now: float) -> None:
        """Report the calls that are still running and have become slow by now."""
        allowance = self.allowance
        if allowance is None or now < allowance.overdue_at:
            return
        for report in allowance.newly_overdue(now, self.lease.period):
            self.put(report)
            allowance.slack -= 1
            if allowance.slack <= 0 or report.at > allowance.expires:
                self.call_actor()

    def call_actor(self) -> None:
        """Leave it to the actor: nobody is admitted or refused at once before its next turn."""
        self.headroom = 0
        self.refuse_until = -math.inf
        if self.allowance is not None:
            self.allowance.slack = 0
        self.mailbox.ring()

    def _put_run(self, outcome: Outcome, times: int, at: float | None) -> None:
        self._put_next(Settle(self.lease.grant.period, NO_PROBE, outcome, at, times=times))

    def _put_next(self, message: Message) -> None:
        self.mailbox.put(message)
        if len(self.mailbox.messages) >= BACKLOG:
            self.call_actor()
