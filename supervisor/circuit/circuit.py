"""What the callers of a circuit share with the actor that owns its state.

Callers read the lease, put reports into the mailbox, and ask where the lease does not answer;
the actor drains the mailbox and publishes the next lease. Everything happens on one event
loop, and nothing here awaits between reading and writing, so there is nothing to lock.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import partial
from threading import get_ident
from typing import Final, Literal, assert_never

from supervisor.circuit.judging import Judgement, report_error, report_result
from supervisor.circuit.mailbox import Mailbox
from supervisor.circuit.statistics import Statistics
from supervisor.circuit.watch import Ticket, Watch, is_watched
from supervisor.errors import (
    CircuitBreakerOpenError,
    CircuitStoppedError,
)
from supervisor.loop import NOWHERE, Bell, EventLoop
from supervisor.machine import (
    NO_PROBE,
    UNCOUNTED,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Lease,
    Machine,
    Message,
    Reconfigure,
    Refusal,
    Reset,
    Retry,
    Settle,
    WaitFor,
    Withdraw,
    replay,
)
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy
from supervisor.recording import Recording

BACKLOG: Final = 1024
"""Messages that may wait before callers, too, have to wait for the actor."""

CHEAP_TO_READ: Final = 32
"""Messages that a read may replay again and again before it asks the actor to take them."""

Verdict = Literal["allow", "refuse"]
"""What becomes of the calls of a circuit whose actor has been given up."""

Answer = Grant | Refusal | Exception

UNGUARDED: Final = Grant(-1, Policy())
"""Admits the calls of a circuit that has been given up; what becomes of them is not counted."""

NO_RESULT: Final = object()
"""The result of a block, which no function of a policy's is asked about."""

_NOT_AT_ONCE: Final = Grant(-2, Policy())
"""Stands where the shortest path looks for a grant, while it must not count successes."""

_BEFORE_FIRST_TURN: Final = Lease(
    CircuitState.CLOSED, 0, Grant(0, Policy()), slack=0, refuse_until=-math.inf, last_failure=None
)
"""Nobody is admitted, or refused, before the actor's first turn."""

# Python 3.11 takes 50 ns to look up a member in its class.
_HALF_OPEN: Final = CircuitState.HALF_OPEN
_SUCCEEDED: Final = Outcome.SUCCEEDED


class Circuit:
    """One named circuit on one event loop.

    `headroom` is how many adverse outcomes may still be reported before the lease is no
    longer certain: while it is above 0, every call is admitted under `grant` at once. At 0,
    a call is refused at once up to the time `refuse_until`, and has to ask from then on.
    Either holds only for callers in `thread`, while `loop_is_running()`; others have to join.

    With a policy that asks for more, `watch` holds what remains of the lease, and `headroom` is
    less than that: see there.
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
        "retired_by",
        "running",
        "started",
        "thread",
        "unsent_failures",
        "unsent_successes",
        "watch",
    )

    def __init__(self, name: str, policy: Policy, loop: EventLoop = NOWHERE) -> None:
        self.name = name
        self.loop = loop
        self.loop_is_running = loop.is_running
        self.thread = 0  # that of its loop, while it has an actor that has taken a turn
        self.running = loop is not NOWHERE
        self.block_left = False  # that of its supervisor
        self.retired_by: object | None = None  # that supervisor may have a successor
        self.given_up: Verdict | None = None
        self.mailbox: Mailbox[Message] = Mailbox()
        seed = random.getrandbits(32) if policy.recovery_jitter else 0
        self.machine = Machine(policy, seed)  # the actor's: callers only copy it
        self.recording: Recording | None = None  # while somebody wants one
        self.started = self.rejected = self.restarts = 0
        # Reports under `grant` since the last message: first failures, then successes.
        self.unsent_failures = self.unsent_successes = 0
        self._last_permit = 0
        self._askers = _NOBODY  # permit -> who asks, in the order of their asking
        self.lease = _BEFORE_FIRST_TURN
        self.grant = self.lease.grant
        self.headroom = self.lease.slack
        self.refuse_until = self.lease.refuse_until
        self.watch = Watch(self.lease, policy, loop.time) if is_watched(policy) else None

    @property
    def policy(self) -> Policy:
        """The policy that it goes by, as far as its actor knows."""
        return self.machine.policy

    @property
    def latest_policy(self) -> Policy:
        """The policy that it goes by, or will when its actor has heard of it."""
        return self.machine.policy if self.watch is None else self.watch.latest_policy

    # For callers

    async def admit(self, retry: bool, wait: float | None, wait_for: WaitFor) -> Ticket:
        """Admit or refuse one call, which may be another attempt, or be ready to wait.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError: see `ask`.
        """
        retry = retry and self.latest_policy.retry_budget is not None
        ticket = self.admit_at_once(must_ask=retry, may_refuse=wait is None)
        if ticket is not None:
            return ticket
        until = None if wait is None else self.loop.time() + wait
        return await self.ask(retry, until, wait_for)

    def admit_at_once(self, must_ask: bool = False, may_refuse: bool = True) -> Ticket | None:
        """Admit or refuse one call where no turn of the actor is needed; None: `ask` must follow.

        Raises:
            CircuitBreakerOpenError: the call is refused.
            CircuitStoppedError: the circuit is stopped.
        """
        self.started += 1
        watch = self.watch
        if watch is not None and watch.slack > 0 and not must_ask:
            if watch.admits_freely:
                return watch.grant
            now = watch.time()
            if now >= watch.next_check:
                return self._admit_after_check(watch, now)
            if watch.keeps_calls:
                watch.last_call = call = watch.last_call + 1
                watch.running[call] = now
                return call
            return watch.grant
        if not self.running:
            return self._granted(self._answer_without_actor())
        if must_ask:
            return None
        if self.headroom > 0:
            return self.grant
        now = self.loop.time()
        if now >= self.refuse_until or not may_refuse:
            return None
        self.rejected += 1
        lease = self.lease
        wait = 0.0 if lease.state is _HALF_OPEN else self.refuse_until - now
        raise CircuitBreakerOpenError(self.name, wait, lease.state, lease.last_failure)

    def _admit_after_check(self, watch: Watch, now: float) -> Ticket | None:
        """Admit one call by what is left of the lease at this time, or let it ask."""
        self.tell_overdue(now)
        if watch.slack <= 0 or now > watch.expires:
            return None
        if not watch.keeps_calls:
            return watch.grant
        return self._begin_call(watch, watch.grant, now)

    def _begin_call(self, watch: Watch, grant: Grant, now: float) -> int:
        """Keep a call while it runs, and see to it that the actor looks after it in time."""
        call = watch.begin_call(grant, now)
        slow_next = watch.slow_next()
        if slow_next < watch.overdue_at:
            self.mailbox.ring()
        watch.look_at(min(slow_next, watch.overdue_at))
        return call

    async def ask(
        self,
        retry: bool = False,
        wait_until: float | None = None,
        wait_for: WaitFor = "closed",
    ) -> Ticket:
        """Let the actor admit or refuse the call that `admit_at_once` could not answer.

        Raises:
            CircuitBreakerOpenError: the call is refused.
            CircuitCrashedError: the actor crashed on this very request.
            CircuitStoppedError: the circuit was stopped while the call waited.
        """
        permit = self._next_permit()
        policy = self.latest_policy
        shares = policy.ramp is not None or policy.throttle is not None
        draw = random.random() if shares else 0.0  # noqa: S311
        request = Acquire(permit, self.loop.time(), draw, retry, wait_until, wait_for)
        grant = self._granted(await self._answer_to(permit, request))
        watch = self.watch
        if watch is None or grant is UNGUARDED or grant.policy.slow_call_duration is None:
            return grant
        return self._begin_call(watch, grant, self.loop.time())

    async def spend_retry(self) -> None:
        """Take one more attempt of a call that has been admitted from the retry budget.

        Raises:
            CircuitBreakerOpenError: it is spent.
            CircuitCrashedError, CircuitStoppedError: see `ask`.
        """
        if self.latest_policy.retry_budget is None:
            return
        if self.running:
            permit = self._next_permit()
            answer = await self._answer_to(permit, Retry(permit, self.loop.time()))
        else:
            answer = self._answer_without_actor()
        if not isinstance(answer, Grant):
            raise self._error_for(answer)

    def _next_permit(self) -> int:
        self._last_permit += 1
        return self._last_permit

    async def _answer_to(self, permit: int, request: Acquire | Retry) -> Answer:
        if self._askers is _NOBODY:
            self._askers = {}
        asker = self._askers[permit] = _Asker(self.loop.new_bell())
        self.tell_overdue(request.at)  # what was due before it
        self._put(request)
        self.mailbox.ring()
        try:
            await asker.answered.wait()
        except BaseException:
            # Before, while or after it was answered: a permit that was granted goes back.
            self._askers.pop(permit, None)
            if isinstance(request, Acquire):
                self._put(Withdraw(permit, self.now()))
                self._call_actor()
            raise
        assert asker.answer is not None
        return asker.answer

    def succeed(self, ticket: Ticket, result: object = None) -> Judgement:
        """Report that a call has returned, and return what that counts as.

        What a function of the policy's raises that judges results comes through.
        """
        watch = self.watch
        if watch is None:
            if ticket is self.grant:
                self.unsent_successes += 1
            else:
                self.settle(ticket, _SUCCEEDED)
        elif watch.judges_results and result is not NO_RESULT:
            return report_result(self.policy_of(ticket), result, partial(self.settle, ticket))
        elif watch.keeps_calls:
            began = watch.running.get(ticket)  # type: ignore[arg-type]
            if began is not None and not watch.any_outcome:
                now = watch.time()
                if now <= watch.run_ends and now < watch.overdue_at:
                    del watch.running[ticket]  # type: ignore[arg-type]
                    self.unsent_successes += 1
                    return _SUCCEEDED
            self.settle(ticket, _SUCCEEDED)
        elif ticket is watch.run_grant and watch.time() <= watch.run_ends:
            self.unsent_successes += 1
        else:
            self.settle(ticket, _SUCCEEDED)
        return _SUCCEEDED

    def fail(self, ticket: Ticket, error: BaseException | None, surely: bool = False) -> Judgement:
        """Report that a call has raised an `Exception`, and return what that counts as; see `end`.

        If it failed `surely`, the policy decides only on the kind of failure.
        """
        if ticket is self.grant and self.headroom > 1:
            self.headroom -= 1
            if self.unsent_successes:
                self.messages()
            self.unsent_failures += 1
            return PLAIN_FAILURE
        if error is None:
            self.settle(ticket, PLAIN_FAILURE)
            return PLAIN_FAILURE
        return self.end(ticket, error, surely)

    def end(self, ticket: Ticket, error: BaseException, surely: bool = False) -> Judgement:
        """Report that a call has raised something, and return what that counts as.

        What a function of the policy's raises that judges errors comes through.
        """
        report = partial(self.settle, ticket)
        return report_error(self.policy_of(ticket), error, report, surely)

    def settle(self, ticket: Ticket, judgement: Judgement, failure: str | None = None) -> None:
        """Report what a call counts as, with its time."""
        if ticket is UNGUARDED or (
            judgement is Outcome.SUCCEEDED and self.watch and self._add_to_run(self.watch, ticket)
        ):
            return
        now = self.now()
        if now is not None:
            self.tell_overdue(now)  # what was due before it, and perhaps this very call
        if isinstance(ticket, int):
            report = self._report_of_kept(ticket, judgement, failure, now)
        else:
            report = _report(ticket, judgement, failure, now)
        self._put(report)
        if report.period >= self.lease.period and self._is_adverse(report):
            self._call_actor()

    def _report_of_kept(
        self, call: int, judgement: Judgement, failure: str | None, now: float | None
    ) -> Settle:
        """Return the report of a call that was kept, and may have been slow."""
        assert self.watch is not None
        grant, began, told = self.watch.end_call(call)
        limit = grant.policy.slow_call_duration
        if now is None or limit is None or now < began + limit:
            return _report(grant, judgement, failure, now)
        if judgement is Outcome.SUCCEEDED:
            failure = f"took {now - began:g} s"
            if grant.policy.slow_call_rate is None:
                judgement = PLAIN_FAILURE
        report = _report(grant, judgement, failure, now)
        if told:
            return replace(report, call=call)
        return replace(report, slow=judgement not in (Outcome.IGNORED, Outcome.CANCELLED))

    def _is_adverse(self, report: Settle) -> bool:
        """Whether the actor has to hear of it now: it could change the verdict."""
        if report.probe != NO_PROBE:
            return report.probe != UNCOUNTED
        failed, watch = report.outcome is Outcome.FAILED, self.watch
        if watch is None or not watch.failures_one_by_one:
            return failed
        if report.outcome in (Outcome.IGNORED, Outcome.CANCELLED):
            return False
        if failed and (report.of_kind.threshold or report.of_kind.retry_after):
            return True  # limits of its own, which the lease does not know
        if report.at is None or report.at > watch.expires:
            return True
        if not (failed or report.slow or watch.any_outcome):
            return False
        watch.slack -= max(1, report.of_kind.weight if failed else 1)
        return watch.slack <= 0

    def _add_to_run(self, watch: Watch, ticket: Ticket) -> bool:
        """Count a success with those before it, and return true, if nothing depends on it."""
        if ticket not in watch.running if isinstance(ticket, int) else ticket is not watch.grant:
            return False
        now = 0.0
        if watch.in_time or watch.overdue_at < math.inf:
            now = self.loop.time()
            if now > watch.expires or now >= watch.overdue_at:
                return False
        if watch.any_outcome:
            if watch.slack <= 1:
                return False
            watch.slack -= 1
        if now > watch.run_ends:
            self.messages()
            watch.begin_run(now)
        self.unsent_successes += 1
        if isinstance(ticket, int):
            del watch.running[ticket]
        return True

    def tell_overdue(self, now: float) -> None:
        """Report the calls that are still running and have become slow by now."""
        watch = self.watch
        if watch is None or now < watch.overdue_at:
            return
        for report in watch.newly_overdue(now, self.lease.period):
            self._put(report)
            watch.slack -= 1
            if watch.slack <= 0 or report.at > watch.expires:
                self._call_actor()

    def policy_of(self, ticket: Ticket) -> Policy:
        """Return the policy by which a call is judged that has not been settled yet."""
        if isinstance(ticket, Grant):
            return ticket.policy
        assert self.watch is not None
        return self.watch.grant_of(ticket).policy

    def reset(self) -> None:
        """Forget its failures, if it is running, and close it unless its state is set by hand."""
        self._order(Reset(self.now()))

    def force(self, state: CircuitState) -> None:
        """Enter a state by hand, or leave one for CLOSED, if it is running."""
        self._order(Force(state, self.now()))

    def reconfigure(self, policy: Policy) -> None:
        """Go by another policy, if it is running."""
        self.check_thread()
        if self.watch is None:
            self.watch = Watch(self.lease, self.policy, self.loop.time)
        self._order(Reconfigure(policy, self.now()))
        self.watch.expect(policy)
        self.grant = _NOT_AT_ONCE

    def _order(self, message: Message) -> None:
        self.check_thread()
        if self.running:
            now = self.now()
            if now is not None:
                self.tell_overdue(now)  # what was due before it
            self._put(message)
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
        now = self.now()
        if now is not None:
            self.tell_overdue(now)
        messages = self.messages()
        machine = replay(self.machine, messages)
        if now is not None:
            machine.advance(now)
            if len(messages) > CHEAP_TO_READ:
                self.mailbox.ring()
        return machine

    def in_flight(self, machine: Machine) -> int:
        """Return how many calls run, or wait to be admitted, by a projection of its machine."""
        settled = machine.succeeded + machine.failed + machine.ignored + machine.cancelled
        return self.started - self.rejected - settled

    def statistics(self) -> Statistics:
        """Return the figures as of now, reports in the mailbox included."""
        machine = self.project()
        return Statistics(
            name=self.name,
            state=machine.state,
            would_be=machine.would_be,
            running=self.running,
            failure_count=machine.failure_count,
            retry_after=machine.retry_after(machine.latest),
            started=self.started,
            succeeded=machine.succeeded,
            failed=machine.failed,
            ignored=machine.ignored,
            cancelled=machine.cancelled,
            rejected=self.rejected,
            would_have_refused=machine.would_have_refused,
            waiting=len(machine.waiting) if self.running else 0,
            in_flight=self.in_flight(machine),
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
        if self.watch is not None:
            self.watch.renew(lease, self.machine.policy)
            self.headroom = self.watch.headroom
            if self.headroom == 0:
                self.grant = _NOT_AT_ONCE

    @property
    def deadline(self) -> float:
        """When its actor has something to do, if it has no mail before; may be infinite."""
        if self.watch is None:
            return self.machine.deadline
        return min(self.machine.deadline, self.watch.overdue_at)

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
        raise self._error_for(answer)

    def _error_for(self, answer: Refusal | Exception) -> Exception:
        if isinstance(answer, Refusal):
            return CircuitBreakerOpenError(
                self.name, answer.retry_after, answer.state, answer.last_failure, answer.reason
            )
        return answer

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
            self._put_run(Outcome.FAILED, self.unsent_failures, None)
            self.unsent_failures = 0
        if self.unsent_successes:
            at = None if self.watch is None else self.watch.end_run()
            self._put_run(Outcome.SUCCEEDED, self.unsent_successes, at)
            self.unsent_successes = 0
        return self.mailbox.messages

    def _put_run(self, outcome: Outcome, times: int, at: float | None) -> None:
        self._put_next(Settle(self.lease.grant.period, NO_PROBE, outcome, at, times=times))

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
        if self.watch is not None:
            self.watch.slack = 0


class _Asker:
    __slots__ = ("answer", "answered")

    def __init__(self, answered: Bell) -> None:
        self.answered = answered
        self.answer: Answer | None = None


_NOBODY: Final[dict[int, _Asker]] = {}
"""Who asks where nobody has asked yet: shared, and never changed."""


def _report(grant: Grant, judgement: Judgement, failure: str | None, at: float | None) -> Settle:
    if isinstance(judgement, Failure):
        return Settle(
            grant.period,
            grant.probe,
            Outcome.FAILED,
            at,
            failure,
            of_kind=judgement,
            retry=grant.retry,
        )
    return Settle(grant.period, grant.probe, judgement, at, failure, retry=grant.retry)
