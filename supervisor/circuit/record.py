"""One circuit's record: what its callers share with the actor that owns its state.

Callers read the lease, put reports into the mailbox, and ask where the lease does not answer;
the actor drains the mailbox and publishes the next lease. Everything happens on one event
loop, and nothing here awaits between reading and writing, so there is nothing to lock.

But a report may come in the middle of anything: the garbage collector settles abandoned calls,
at any allocation. And anything may be cut short, by an interrupt or at the recursion limit. So
each change is made ready, and then made by one last line that calls and allocates nothing, where
neither can come in between. It holds for the same reason what such a line has looked at before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import get_ident
from typing import Final, Literal

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import NOBODY, Pause
from supervisor.circuit.beginning import BEFORE_FIRST_TURN, beginning_of, seed_for
from supervisor.circuit.calls import Known, Ticket
from supervisor.circuit.mailbox import END, Mailbox
from supervisor.circuit.observers import NO_OBSERVERS
from supervisor.loop import NOWHERE, EventLoop
from supervisor.machine import (
    NO_PROBE,
    REFUSING,
    Grant,
    Machine,
    Message,
    Settle,
    Told,
    is_late,
    overdue,
)
from supervisor.policy import Outcome, Policy

BACKLOG: Final = 256
"""Messages that may wait before callers, too, have to wait for the actor."""

AT_REST: Final = 8
"""Messages that an idle circuit may keep, with their texts 3 kB: it takes a turn for more."""

GivenUp = Literal["allow", "refuse"]
"""What becomes of the calls of a circuit whose actor has been given up."""

WITHOUT_ACTOR: Final = Grant(-1, Policy())
"""Admits the calls of a circuit that has been given up; what becomes of them is not counted."""

NOT_AT_ONCE: Final = Grant(-2, Policy())
"""Stands where the shortest path looks for a grant, while it must not count successes."""

CANCELLED: Final = object()
"""Has retired a circuit whose actor was cancelled: a call by name starts another one."""


NO_REASONS: Final[dict[str, int]] = {}
"""For what calls were refused where none was yet, or only since it is open: shared, and never
changed.
"""


class _Front:
    """What every call looks at and writes: first in memory, and so in one cache line or two."""

    __slots__ = ("grant", "headroom", "home", "started", "unsent_successes")


class Circuit(_Front):
    """One named circuit on one event loop.

    `headroom` is how many adverse outcomes may still be reported before the lease is no
    longer certain: while it is above 0, every call is admitted under `grant` at once. At 0,
    a call is refused at once up to the time `refuse_until`, and has to ask from then on.
    Either holds only for code that has the turn at `home`; all other code has to join.

    With a policy that asks for more, `allowance` holds what remains of the lease, and `headroom`
    is less than that: see there.

    `ending` is how many calls have ended and have not been reported yet. Whoever settles a call
    adds it there, by a statement that cannot fail, and the report takes it out again: those that
    stay are of reports that were cut short. They count as cancelled.
    """

    __slots__ = (
        "allowance",
        "askers",
        "block_left",
        "emit",
        "ending",
        "instead",
        "last_permit",
        "lease",
        "loop",
        "machine",
        "mailbox",
        "name",
        "number",
        "observers",
        "on_refusal",
        "refusals",
        "refuse_until",
        "rejected",
        "restarts",
        "retired_by",
        "running",
        "unsent_failures",
    )

    def __init__(self, name: str, policy: Policy, loop: EventLoop = NOWHERE) -> None:
        self.name = name
        self.loop = loop
        self.home = NOWHERE  # or its loop, while it has an actor that has taken a turn
        self.running = loop is not NOWHERE
        self.block_left = False  # that of its supervisor
        self.retired_by: object | None = None  # that supervisor, weakly, or CANCELLED
        self.instead: GivenUp | Pause | None = None  # of its actor, whoever asks it
        self.mailbox: Mailbox[Message] = Mailbox()
        self.emit: Emit | None = None  # its actor's, while that sleeps
        self.machine = Machine(policy, seed_for(policy))  # the actor's: callers only copy it
        if policy.initial_state != "closed" or policy.warm_up is not None:
            self.machine.begin(0.0 if loop is NOWHERE else loop.clock.time())
        self.observers = NO_OBSERVERS
        self.on_refusal: Callable[[Circuit], None] | None = None  # wants to know of the next one
        self.started = self.rejected = self.ending = self.restarts = 0
        # Reports under `grant` since the last message: first failures, then successes.
        self.unsent_failures = self.unsent_successes = 0
        self.refusals = NO_REASONS  # of those that are rejected, all whose reason is not "open"
        self.last_permit = self.number = 0  # nesting gives it a number of its own
        self.askers = NOBODY  # permit -> who asks, in the order of their asking
        _, more, self.lease = beginning_of(self.machine)
        self.grant = self.lease.grant
        self.headroom = 0  # before its first turn
        self.refuse_until = BEFORE_FIRST_TURN.refuse_until
        self.allowance = Allowance(self.lease, policy, loop.clock) if more else None

    def begin_with(self, machine: Machine) -> None:
        """Begin with a machine that knows more than a new one, as its actor's first turn tells."""
        self.machine, self.lease = machine, BEFORE_FIRST_TURN

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
        return not self.running and self.instead is None

    def grant_of(self, ticket: Ticket) -> Grant:
        """Return what a call was admitted by, and is judged by, that has not been settled yet."""
        if isinstance(ticket, Grant):
            return ticket
        assert self.allowance is not None
        return self.allowance.running_calls.grant_of(ticket)

    def now(self) -> float | None:
        """Return its event loop's time in seconds, or None if another or none runs here."""
        now = self.loop.time_here() if self.running else None
        return None if now is None else self._as_due(now)

    def time(self) -> float:
        """Return its event loop's time in seconds, where it surely runs; see `now`."""
        return self._as_due(self.loop.clock.time())

    def _as_due(self, now: float) -> float:
        """The end of being open, if whoever slept until then may have been woken by now."""
        ends = self.lease.refuse_until
        is_near = ends - self.loop.early_by <= now < ends
        return ends if is_near and self.lease.state in REFUSING else now

    def check_thread(self) -> None:
        """Refuse to be used from a thread other than that of its event loop.

        Raises:
            RuntimeError: this is another thread.
        """
        if self.running and self.loop.thread != get_ident():
            raise RuntimeError(
                f"circuit {self.name!r} belongs to the event loop of another thread; a thread that"
                " runs none asks there by `breaker.sync.ask(lambda: breaker.state)`, and calls by"
                " `breaker.sync.call(func)`"
            )

    def messages(self) -> list[Message]:
        """Return the mailbox's messages, with the reports that have not been put in yet.

        A run of successes, or of failures that cannot open the circuit, travels as one
        message, which is made anew if others come in between. It is cheap, and nothing hurries.
        """
        while self.unsent_failures:
            self._put_failures()
        while self.unsent_successes:
            self._put_successes()
        return self.mailbox.messages

    def put(self, message: Message, ended: int = 0) -> None:
        """Put a message behind all that was reported before; so many calls have ended by it.

        It ends with that: if anything is raised, it has not been put.
        """
        self.messages()
        self._call_for_many()
        put = (message,)
        self.ending, self.mailbox.messages[END] = self.ending - ended, put

    def tell_overdue(self, now: float, is_turn: bool = False) -> None:
        """Report the calls that are still running and have become slow by now.

        Only in the actor's turn if that is late, since calls may have ended meanwhile that had no
        turn to say so.
        """
        if (allowance := self.allowance) is None:
            return
        calls = allowance.running_calls
        if is_turn:
            calls.seen = calls.last
        if now < allowance.overdue_at or (not is_turn and is_late(calls.slow_next(), now)):
            return
        while (call := calls.next_overdue(now)) is not None:
            self.tell_slow(allowance, call)
        allowance.look_after_calls()

    def tell_slow(self, allowance: Allowance, call: int) -> None:
        """Report a call that is slow, if it still runs and has not been reported so."""
        calls = allowance.running_calls
        running = calls.others.get(call)
        if running is None or running[2] is Known.IS_SLOW:
            return
        grant, began, _ = running
        report = overdue(grant, call, began)
        told = (grant, began, Known.IS_SLOW)
        put: tuple[Message, ...] = ()
        if grant.period >= self.lease.period and grant.probe == NO_PROBE:  # a probe says so itself
            allowance.slack -= 1
            if allowance.slack <= 0 or report.at > allowance.expires:
                self.call_actor()
            self.messages()
            self._call_for_many()
            put = (report,)
        if call in calls.others and calls.others[call] is running:
            calls.others[call], self.mailbox.messages[END] = told, put

    def call_actor(self) -> None:
        """Leave it to the actor: nobody is admitted or refused at once before its next turn."""
        self.withdraw_lease()
        self.mailbox.ring()

    def withdraw_lease(self) -> None:
        """Let whoever comes next ask, and bring about a turn by that."""
        self.headroom = 0
        self.refuse_until = -math.inf
        if self.allowance is not None:
            self.allowance.slack = 0

    def _put_failures(self) -> None:
        lease, times = self.lease, self.unsent_failures
        run = self._run(Outcome.FAILED, times, None)
        if self.lease is lease and self.unsent_failures == times > 0:
            self.unsent_failures, self.mailbox.messages[END] = 0, run

    def _put_successes(self) -> None:
        lease, allowance, times = self.lease, self.allowance, self.unsent_successes
        at = None if allowance is None else allowance.run_began
        run = self._run(Outcome.SUCCEEDED, times, at)
        if self.lease is not lease or not self.unsent_successes == times > 0:
            return
        if allowance is None:
            self.unsent_successes, self.mailbox.messages[END] = 0, run
        elif allowance.run_began is at:
            ends, messages = allowance.between_runs, self.mailbox.messages
            self.unsent_successes, allowance.run_ends, messages[END] = 0, ends, run

    def _run(self, outcome: Outcome, times: int, at: float | None) -> tuple[Message]:
        """Return the message that tells of so many reports, and make room for it."""
        self._call_for_many()
        return (Settle(self.lease.grant.period, NO_PROBE, outcome, at, times=times),)

    def _call_for_many(self) -> None:
        """See to it that no more messages wait than may."""
        waiting = len(self.mailbox.messages) + 1
        if waiting >= BACKLOG:
            self.call_actor()
        elif waiting > AT_REST:
            self.mailbox.ring()


Emit = Callable[[Circuit, Told], None]
"""Tells what a circuit's machine has done."""
