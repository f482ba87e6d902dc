"""What the callers of a circuit share with the actor that owns its state.

Callers read the lease, put reports into the mailbox, and ask where the lease does not answer;
the actor drains the mailbox and publishes the next lease. Everything happens on one event
loop, and nothing here awaits between reading and writing, so there is nothing to lock.
"""

from __future__ import annotations

import math
from threading import get_ident
from typing import Final, Literal, assert_never

from supervisor.bell import Bell
from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError, describe
from supervisor.event_loop import NOWHERE, EventLoop
from supervisor.machine import Machine, replay
from supervisor.mailbox import Mailbox
from supervisor.messages import (
    NO_PROBE,
    Acquire,
    CircuitState,
    Grant,
    Lease,
    Message,
    Outcome,
    Refusal,
    Reset,
    Settle,
    Withdraw,
)
from supervisor.policy import Policy
from supervisor.recording import Recording
from supervisor.statistics import Statistics

BACKLOG: Final = 1024
"""Messages that may wait before callers, too, have to wait for the actor."""

CHEAP_TO_READ: Final = 32
"""Messages that a read may replay again and again before it asks the actor to take them."""

Verdict = Literal["allow", "refuse"]
"""What becomes of the calls of a circuit whose actor has been given up."""

Answer = Grant | Refusal | Exception

UNGUARDED: Final = Grant(period=-1)
"""Admits the calls of a circuit that has been given up; what becomes of them is not counted."""

_BEFORE_FIRST_TURN: Final = Lease(
    CircuitState.CLOSED, 0, Grant(0), slack=0, refuse_until=-math.inf, last_failure=None
)
"""Nobody is admitted, or refused, before the actor's first turn."""

_OPEN: Final = CircuitState.OPEN  # Python 3.11 takes 50 ns to look up a member in its class


class Circuit:
    """One named circuit on one event loop.

    `headroom` is how many adverse outcomes may still be reported before the lease is no
    longer certain: while it is above 0, every call is admitted under `grant` at once. At 0,
    a call is refused at once up to the time `refuse_until`, and has to ask from then on.
    Either holds only for callers in `thread`, while `loop_is_running()`; others have to join.
    """

    __slots__ = (
        "_askers",
        "_last_permit",
        "block_left",
        "given_up",
        "grant",
        "headroom",
        "lease",
        "loop",
        "loop_is_running",
        "machine",
        "mailbox",
        "name",
        "recording",
        "refuse_until",
        "rejected",
        "restarts",
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
        self.given_up: Verdict | None = None
        self.mailbox: Mailbox[Message] = Mailbox()
        self.machine = Machine(policy)  # the actor's: callers only copy it
        self.recording: Recording | None = None  # while somebody wants one
        self.started = self.rejected = self.restarts = 0
        # Reports under `grant` since the last message: first failures, then successes.
        self.unsent_failures = self.unsent_successes = 0
        self._last_permit = 0
        self._askers: dict[int, _Asker] = {}
        self.lease = _BEFORE_FIRST_TURN
        self.grant = self.lease.grant
        self.headroom = self.lease.slack
        self.refuse_until = self.lease.refuse_until

    @property
    def policy(self) -> Policy:
        """Its thresholds and timeouts."""
        return self.machine.policy

    # For callers

    def admit_at_once(self) -> Grant | None:
        """Admit or refuse one call where no turn of the actor is needed; None: `ask` must follow.

        Raises:
            CircuitBreakerOpenError: the call is refused.
            CircuitStoppedError: the circuit is stopped.
        """
        self.started += 1
        if self.headroom > 0:
            return self.grant
        if not self.running:
            return self._granted(self._answer_without_actor())
        now = self.loop.time()
        if now >= self.refuse_until:
            return None
        self.rejected += 1
        lease = self.lease
        wait = self.refuse_until - now if lease.state is _OPEN else 0.0
        raise CircuitBreakerOpenError(self.name, wait, lease.state, lease.last_failure)

    async def ask(self) -> Grant:
        """Let the actor admit or refuse the call that `admit_at_once` could not answer.

        Raises:
            CircuitBreakerOpenError: the call is refused.
            CircuitCrashedError: the actor crashed on this very request.
            CircuitStoppedError: the circuit was stopped while the call waited.
        """
        self._last_permit += 1
        permit = self._last_permit
        asker = self._askers[permit] = _Asker(self.loop.new_bell())
        self._put(Acquire(permit, self.loop.time()))
        self.mailbox.ring()
        try:
            await asker.answered.wait()
        except BaseException:
            # Before, while or after it was answered: a permit that was granted goes back.
            self._askers.pop(permit, None)
            self._put(Withdraw(permit, self.now()))
            self._call_actor()
            raise
        assert asker.answer is not None
        return self._granted(asker.answer)

    def succeed(self, grant: Grant) -> None:
        """Report a success."""
        if grant is self.grant:
            self.unsent_successes += 1
        else:
            self.settle(grant, Outcome.SUCCEEDED)

    def fail(self, grant: Grant, error: BaseException | None) -> None:
        """Report a failure."""
        if grant is self.grant and self.headroom > 1:
            self.headroom -= 1
            if self.unsent_successes:
                self.messages()
            self.unsent_failures += 1
            return
        failure = None if error is None else type(error).__name__
        try:
            if error is not None:
                failure = describe(error)
        finally:  # it counts also if an interrupt comes while the error is asked for its text
            self.settle(grant, Outcome.FAILED, failure)

    def settle(self, grant: Grant, outcome: Outcome, failure: str | None = None) -> None:
        """Report any outcome, with its time."""
        if grant is UNGUARDED:
            return
        self._put(Settle(grant.period, grant.probe, outcome, self.now(), failure))
        if grant.period >= self.lease.period and (grant.probe or outcome is Outcome.FAILED):
            self._call_actor()

    def reset(self) -> None:
        """Close the circuit and forget its failures, if it is running."""
        self.check_thread()
        if self.running:
            self._put(Reset(self.now()))
            self._call_actor()

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

    def project(self) -> Machine:
        """Return the machine as it will be when the actor has taken all that is in its mailbox."""
        self.check_thread()
        messages = self.messages()
        machine = replay(self.machine, messages)
        if (now := self.now()) is not None:
            machine.advance(now)
            if len(messages) > CHEAP_TO_READ:
                self.mailbox.ring()
        return machine

    def statistics(self) -> Statistics:
        """Return the figures as of now, reports in the mailbox included."""
        machine = self.project()
        settled = machine.succeeded + machine.failed + machine.ignored + machine.cancelled
        return Statistics(
            name=self.name,
            state=machine.state,
            running=self.running,
            failure_count=machine.failure_count,
            retry_after=machine.retry_after(machine.latest),
            started=self.started,
            succeeded=machine.succeeded,
            failed=machine.failed,
            ignored=machine.ignored,
            cancelled=machine.cancelled,
            rejected=self.rejected,
            in_flight=self.started - self.rejected - settled,
            stale=machine.stale,
            times_opened=machine.times_opened,
            restarts=self.restarts,
            last_failure=machine.last_failure,
        )

    # For the actor and its supervisor

    def publish(self, lease: Lease) -> None:
        """Replace the lease; only the actor does, at the end of a turn."""
        self.thread = self.loop.thread if self.running else 0
        self.lease = lease
        self.grant = lease.grant
        self.headroom = lease.slack
        self.refuse_until = lease.refuse_until

    def answer(self, permit: int, answer: Answer) -> None:
        """Answer the asker of `permit`, if it has not been cancelled meanwhile."""
        asker = self._askers.pop(permit, None)
        if asker is not None:
            asker.answer = answer
            asker.answered.ring()

    def give_up(self, verdict: Verdict) -> None:
        """Go on without an actor: let every call pass unguarded, or refuse every call."""
        self.given_up = verdict
        self._end()

    def stop(self) -> None:
        """Take no more calls, and let the actor end."""
        self.given_up = None
        self._end()

    @property
    def stopped(self) -> bool:
        """Whether it takes no calls any more."""
        return not self.running and self.given_up is None

    def _end(self) -> None:
        self.running = False
        self.thread = 0
        self._call_actor()
        for permit in list(self._askers):
            self.answer(permit, self._answer_without_actor())

    def _granted(self, answer: Answer) -> Grant:
        if answer is UNGUARDED:
            self.started -= 1
        if isinstance(answer, Grant):
            return answer
        self.rejected += 1
        if isinstance(answer, Refusal):
            raise CircuitBreakerOpenError(
                self.name, answer.retry_after, answer.state, answer.last_failure
            )
        raise answer

    def _answer_without_actor(self) -> Answer:
        match self.given_up:
            case "allow":
                return UNGUARDED
            case "refuse":
                return Refusal(CircuitState.OPEN, math.inf, self.machine.last_failure)
            case None:
                return CircuitStoppedError(
                    f"circuit {self.name!r} has been stopped, or its supervisor's block was left;"
                    " ask a running supervisor for a new one by name"
                )
            case _:
                assert_never(self.given_up)

    def messages(self) -> list[Message]:
        """Return the mailbox's messages, with the reports that have not been put in yet.

        A run of successes, or of failures that cannot open the circuit, travels as one
        message. It is cheap to make and to apply, and nothing hurries.
        """
        if self.unsent_failures:
            self._put_run(Outcome.FAILED, self.unsent_failures)
            self.unsent_failures = 0
        if self.unsent_successes:
            self._put_run(Outcome.SUCCEEDED, self.unsent_successes)
            self.unsent_successes = 0
        return self.mailbox.messages

    def _put_run(self, outcome: Outcome, times: int) -> None:
        self._put_next(Settle(self.grant.period, NO_PROBE, outcome, times=times))

    def _put(self, message: Message) -> None:
        self.messages()  # what was reported before goes in before
        self._put_next(message)

    def _put_next(self, message: Message) -> None:
        self.mailbox.put(message)
        if len(self.mailbox.messages) >= BACKLOG:
            self._call_actor()

    def _call_actor(self) -> None:
        """Leave the verdict to the actor: nobody is admitted or refused before its next turn."""
        self._void_lease()
        self.mailbox.ring()

    def _void_lease(self) -> None:
        self.headroom = 0
        self.refuse_until = -math.inf


class _Asker:
    __slots__ = ("answer", "answered")

    def __init__(self, answered: Bell) -> None:
        self.answered = answered
        self.answer: Answer | None = None
