"""A fleet in a box: the machines of several processes, and a store, in one virtual time.

All is synchronous. What would go over a network is put into a list with the time at which it
arrives. Each process has a clock of its own, which drifts, and so has the store, whose clock jumps.
"""

from __future__ import annotations

import copy
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final

from supervisor.machine import (
    BY_HAND,
    Acquire,
    Adopt,
    AskAgain,
    Asked,
    CircuitState,
    Decide,
    Failed,
    Force,
    FromFleet,
    Grant,
    Message,
    Probed,
    Reconfigured,
    Reset,
    Settle,
    SharedMachine,
    Take,
    ToFleet,
    Transition,
    Withdraw,
)
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy
from supervisor.sharing.clocks import StoreClock
from supervisor.sharing.failures import PARTS, Failures, Together
from supervisor.sharing.held import NOTHING
from supervisor.sharing.known import Known
from supervisor.sharing.rules import Asker
from supervisor.sharing.space import Space
from supervisor.sharing.store import (
    NEVER,
    Answer,
    Epoch,
    Forcing,
    News,
    Record,
    Renewing,
    Settling,
    Step,
)
from supervisor.sharing.translation import Reader, counting_of, number_of, step_of
from tests.proofs.witness import LONGEST_HINT, Witness

NAME: Final = "x"
LEASE: Final = 2.0
TIMEOUT: Final = 1.0
"""Seconds after which a step that is not answered has lost the link."""

WITHIN: Final = 4.0
"""Seconds in which failures count together."""

BEAT: Final = 5.0
"""Seconds after which a member finds out that the store has lost something."""


@dataclass(frozen=True)
class Luck:
    """How often what goes wrong: shares of all messages, or of all moments."""

    slow: float = 0.0
    lost: float = 0.0
    twice: float = 0.0  # news, or a step at the store
    gaps: float = 0.0
    drift: float = 0.0
    jumps: float = 0.0
    deaths: float = 0.0
    stops: float = 0.0
    hands: float = 0.0
    leaves: float = 0.0
    hints: float = 0.0
    together: int | None = None  # failures that count together


@dataclass
class Hand:
    """What has been done by hand to a circuit at its process alone.

    Attributes:
        until: when that ends.
        probes: whether it ends by itself, after which the circuit probes.
        since: the epoch that was known when the circuit was set on its own way, which it may go
            until there is a later one.
    """

    until: float = 0.0
    probes: bool = False
    since: Epoch | None = None


@dataclass(eq=False)
class Process:
    """One process: its machine, its clock, and its member of the fleet."""

    owner: str
    machine: SharedMachine
    offset: float
    drift: float
    clock: StoreClock = field(default_factory=StoreClock)
    link: int = 0  # the number of its link, odd while it lasts; what came by another is not heard
    joining: bool = False  # nothing is asked for before it is known how things stand
    missing: bool = False  # news was missed; what comes waits until it is known how things stand
    unheard: list[News] = field(default_factory=list[News])
    heard: Epoch = NEVER
    known: Known = field(default_factory=Known)
    outbox: deque[tuple[Step, int]] = field(default_factory=deque[tuple[Step, int]])
    asks: bool = False
    failures: Failures[str] = field(default_factory=Failures[str])
    held: dict[str, Epoch] = field(default_factory=dict[str, Epoch])
    until: dict[str, float] = field(default_factory=dict[str, float])  # tokens by its clock
    running: dict[int, Grant] = field(default_factory=dict[int, Grant])  # by permit
    asking: dict[int, float] = field(default_factory=dict[int, float])  # since when
    tokens: int = 0
    permits: int = 0
    frozen_until: float = 0.0
    hand: Hand = field(default_factory=Hand)
    gone: bool = False

    @property
    def linked(self) -> bool:
        return self.link % 2 == 1

    def time(self, now: float) -> float:
        """What its clock shows."""
        return now * (1 + self.drift) + self.offset

    def when(self, time: float) -> float:
        """When its clock shows that."""
        return (time - self.offset) / (1 + self.drift)


class FleetInABox:
    """Several processes and a store."""

    def __init__(self, chance: random.Random, luck: Luck, policy: Policy, quorum: int = 1) -> None:
        self.chance = chance
        self.luck = luck
        self.policy = policy
        self.quorum = quorum
        self.witness = Witness(policy, quorum)
        self.now = 1000.0
        self.store_ahead = chance.uniform(0.0, 1e6)
        self.space = Space()
        self.down_until = 0.0
        self.works = True  # the dependency
        self.steps = 0
        self.changes: dict[Epoch, CircuitState] = {NEVER: CircuitState.CLOSED}
        self.transitions = 0
        self.longest_wait = 0.0
        self.unnoticed = False  # whether the store has lost what its epochs do not show
        self.has_lost = False  # whether it has lost anything
        self.set_at = 0.0  # when the store's clock was set last
        self.changed_at: dict[Epoch, float] = {}
        self._number = count()
        self._owners = count()
        self._arriving: list[tuple[float, int, Callable[[], None]]] = []
        self.processes = [self._new_process() for _ in range(chance.randint(2, 5))]

    def _new_process(self) -> Process:
        number = next(self._owners)
        drift = self.chance.uniform(-self.luck.drift, self.luck.drift)
        machine = self._new_machine(number)
        process = Process(f"p{number}", machine, self.chance.uniform(1.0, 1e5), drift)
        machine.pass_time(process.time(self.now))
        self._later(0.0, lambda: self._join(process))
        if self.luck.together is not None:
            self._count(process, Together(self.luck.together, WITHIN))
        return process

    def _new_machine(self, seed: int) -> SharedMachine:
        machine = SharedMachine(self.policy, seed)
        machine.terms.counts = self.luck.together is not None
        return machine

    # Time

    def pass_time(self, seconds: float) -> None:
        """Let all come about that does so within this time."""
        until = self.now + seconds
        while True:
            due, process = self._due()
            arriving = self._arriving[0][0] if self._arriving else until + 1.0
            at = min(due, arriving)
            if at > until:
                break
            self.now = max(self.now, at)
            self.steps += 1
            if arriving <= at:
                heappop(self._arriving)[2]()
            else:
                self._turn(process)
        self.now = until

    def _due(self) -> tuple[float, Process]:
        """Return which process has something to do first, and when."""
        first, of = math.inf, self.processes[0]
        for process in self.processes:
            deadline = process.machine.deadline
            if deadline < 1e300:
                at = max(process.when(deadline) + 1e-6, process.frozen_until)
                if at < first:
                    first, of = at, process
        return first, of

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heappush(self._arriving, (self.now + seconds, next(self._number), what))

    def _at(self, process: Process, seconds: float, what: Callable[[], None]) -> None:
        """Let it come about at a process, but not while that is frozen."""

        def arrive() -> None:
            if process.frozen_until > self.now:
                self._at(process, process.frozen_until - self.now, what)
            else:
                what()

        self._later(seconds, arrive)

    def _delay(self) -> float:
        slow = self.chance.random() < self.luck.slow
        return self.chance.uniform(0.1, 1.2) if slow else self.chance.uniform(0.0005, 0.02)

    def _happens(self, share: float) -> bool:
        return share > 0 and self.chance.random() < share

    # A process

    def tell(self, process: Process, message: Message) -> None:
        """Let a machine take a message in a turn."""
        before = process.machine.terms.epoch
        answer = process.machine.apply(message)
        is_later = before <= process.machine.terms.epoch
        lost = isinstance(message, Adopt) and message.lost
        assert is_later or lost, "a stale view has overwritten a later state"
        if answer is not None:
            assert isinstance(message, Acquire)
            self._answered(process, message.permit, answer)
        self._turn(process)

    def _turn(self, process: Process) -> None:
        machine = process.machine
        machine.advance(process.time(self.now))
        released, machine.released = machine.released, ()
        for permit, answer in released:
            self._answered(process, permit, answer)
        told, machine.transitions = machine.transitions, []
        for each in told:
            if isinstance(each, Transition):
                self.transitions += 1
            elif not isinstance(each, Reconfigured):
                self._post(process, each)

    def _answered(self, process: Process, permit: int, answer: object) -> None:
        since = process.asking.pop(permit)
        self.longest_wait = max(self.longest_wait, self.now - max(since, process.frozen_until))
        if isinstance(answer, Grant):
            process.running[permit] = answer

    def call(self, process: Process) -> None:
        """Let somebody ask to be admitted."""
        process.permits += 1
        process.asking[process.permits] = self.now
        draw = self.chance.random()
        self.tell(process, Acquire(process.permits, process.time(self.now), draw))

    def end_call(self, process: Process, permit: int) -> None:
        """Let a call end."""
        grant = process.running.pop(permit)
        outcome = Outcome.SUCCEEDED if self.works else Outcome.FAILED
        if self.chance.random() < 0.05:
            outcome = Outcome.CANCELLED
        at = process.time(self.now)
        kind = PLAIN_FAILURE
        if self._happens(self.luck.hints):
            kind = Failure(retry_after=self.chance.uniform(0.5, LONGEST_HINT))
        elif self._happens(self.luck.hints):
            kind = Failure("busy", weight=3)
        self.tell(process, Settle(grant.period, grant.probe, outcome, at, "down", of_kind=kind))

    def withdraw(self, process: Process, permit: int) -> None:
        """Let an asker be cancelled; what it is answered in the same turn, nobody hears."""
        self.tell(process, Withdraw(permit, process.time(self.now)))
        process.asking.pop(permit, None)
        process.running.pop(permit, None)

    def force(self, process: Process, state: CircuitState, everywhere: bool) -> None:
        """Set a state by hand; for a process alone, it may be for a time."""
        seconds, hold, at = math.inf, 0, process.time(self.now)
        if state is CircuitState.FORCED_OPEN and not everywhere:
            seconds = self.chance.choice([0.1, 1.0, 5.0, math.inf])
            hold = self.chance.randrange(3)
        if state is CircuitState.HALF_OPEN:
            process.hand.since = Epoch(*process.machine.terms.epoch)
        self.tell(process, Force(state, at, everywhere, hold, seconds))
        if everywhere:
            process.hand.until = 0.0
        else:
            self._look_at(process)

    def let_go(self, process: Process) -> None:
        """Let one owner of an isolated circuit keep it open no more."""
        at, hold = process.time(self.now), self.chance.choice([1, 2])
        self.tell(process, Force(CircuitState.CLOSED, at, hold=hold))
        self._look_at(process)

    def reset(self, process: Process) -> None:
        """Close a circuit here, whatever the fleet says."""
        process.hand.since = Epoch(*process.machine.terms.epoch)
        self.tell(process, Reset(process.time(self.now)))

    def _look_at(self, process: Process) -> None:
        """See until when a hand has a say here."""
        machine, hand = process.machine, process.hand
        if machine.state not in BY_HAND or machine.terms.set_by_fleet:
            hand.until = 0.0
        else:
            hand.until = process.when(max(machine.holds.values(), default=math.inf))
            hand.probes = hand.probes or hand.until < math.inf

    # Who comes and goes

    def leave(self, process: Process, is_killed: bool) -> None:
        """Let a process end, and another one begin; who is not killed gives its tokens back."""
        if not is_killed:
            for step in self._to_give_back(process):
                self._later(self._delay(), lambda step=step: self._take(process, step))  # type: ignore[misc]
        process.link += process.linked
        process.gone = True
        self.processes[self.processes.index(process)] = self._new_process()

    def replace_circuit(self, process: Process) -> None:
        """Let a circuit end, and another one of its name begin at the same member."""
        for step in self._to_give_back(process):
            process.outbox.append((step, 0))
        process.running, process.asking, process.hand = {}, {}, Hand()
        process.held.clear()
        process.machine = self._new_machine(self.chance.randrange(1000))
        process.machine.pass_time(process.time(self.now))
        record = process.known.of(NAME)
        if record is not None:
            self.tell(process, self._reader(process).adopt(record, process.time(self.now)))
        self._send(process)

    def _to_give_back(self, process: Process) -> list[Settling]:
        return [
            Settling(NAME, epoch, token, "given back", 1, 0.0, 0, None)
            for token, epoch in process.held.items()
        ]

    # Its member

    def _post(self, process: Process, told: ToFleet) -> None:
        at = process.time(self.now)
        if isinstance(told, Failed):
            if process.linked:
                process.failures.add(NAME, told)
            return
        if isinstance(told, Probed):
            process.held.pop(told.token, None)
            until = process.until.get(told.token, math.inf)
            # One that has closed alone tells so by a token that comes late; the store decides.
            has_closed = process.machine.would_be is CircuitState.CLOSED
            in_time = has_closed or at < until
            assert told.verdict != "succeeded" or in_time, "a success that comes too late"
        number = number_of(told)
        if not process.linked:
            if number and isinstance(told, Asked | Probed):
                self._at(process, 0.0, lambda: self.tell(process, Decide(at, number)))
            return
        process.tokens += 1
        token = f"{process.owner}/{process.tokens}"
        process.outbox.append((step_of(NAME, told, at, token, LEASE), number))
        self._send(process)

    def _count(self, process: Process, together: Together) -> None:
        def end_part() -> None:
            for _, failures, last in process.failures.end_part():
                if process.linked and process.machine.would_be is CircuitState.CLOSED:
                    step = counting_of(NAME, failures, last, together)
                    process.outbox.append((step, 0))
                    self._send(process)
            if not process.gone:
                self._count(process, together)

        self._at(process, WITHIN / PARTS, end_part)

    def _send(self, process: Process) -> None:
        if process.asks or process.joining or not process.outbox:
            return
        process.asks = True
        step, number = process.outbox.popleft()
        machine = process.machine
        link, asked, there, back = process.link, self.now, self._delay(), self._delay()
        if self._happens(self.luck.lost) or there + back > TIMEOUT:
            self._at(process, TIMEOUT, lambda: self._cut_off(process, link))
            if self._happens(0.5):
                return  # it has not even arrived

        def arrive() -> None:
            answer = self._take(process, step)
            if self._happens(self.luck.twice):
                answer = self._take(process, step, again=True)
            if answer is None:
                self._at(process, back, lambda: self._cut_off(process, link))
            else:
                hear = lambda: self._hear(process, machine, link, step, number, answer, asked)  # noqa: E731
                self._at(process, back, hear)

        self._later(there, arrive)

    def _hear(
        self,
        process: Process,
        machine: SharedMachine,
        link: int,
        step: Step,
        number: int,
        answer: Answer,
        asked: float,
    ) -> None:
        if process.link != link:
            return
        at = process.time(self.now)
        process.clock.read(answer.now, process.time(asked), at)
        if answer.record is not None:
            process.known.add(NAME, answer.record)
        process.asks = False
        token: str = getattr(step, "token", "")
        message: FromFleet | None = None
        if isinstance(step, Renewing) and answer.outcome != "leased":
            process.held.pop(token, None)
        if not (isinstance(step, Renewing) and token not in process.held):
            message = self._reader(process).answer(answer, at, number, token)
        if process.machine is not machine:
            if isinstance(message, Take):
                epoch = Epoch(*message.epoch)
                process.outbox.append(
                    (Settling(NAME, epoch, token, "given back", 1, 0.0, 0, None), 0)
                )
        elif message is not None:
            if isinstance(message, Take):
                process.held[token] = Epoch(*message.epoch)
                process.until[token] = message.until
                self._at(process, LEASE / 3, lambda: self._renew(process, link, token))
            self.tell(process, message)
        self._send(process)

    def _renew(self, process: Process, link: int, token: str) -> None:
        if process.link == link and token in process.held:
            process.outbox.append((Renewing(NAME, process.held[token], token, LEASE), 0))
            self._send(process)

    def _reader(self, process: Process) -> Reader:
        return Reader(process.owner, process.clock, LEASE)

    def _cut_off(self, process: Process, link: int) -> None:
        if process.link != link:
            return
        process.link += 1
        process.asks = process.joining = process.missing = False
        process.outbox.clear()
        process.held.clear()
        process.unheard.clear()
        process.failures.clear()
        self.tell(process, Decide(process.time(self.now)))
        self._at(process, self.chance.uniform(0.05, 0.5), lambda: self._join(process))

    def _join(self, process: Process) -> None:
        if process.linked:
            return
        if self.down_until > self.now:
            self._at(process, 0.5, lambda: self._join(process))
            return
        process.link += 1
        process.joining = True
        self._learn(process)
        self._beat(process, process.link)

    def _beat(self, process: Process, link: int) -> None:
        def beat() -> None:
            if process.link == link:
                if not process.joining:
                    self._learn(process, process.heard)
                self._beat(process, link)

        self._at(process, BEAT, beat)

    def _learn(self, process: Process, heard: Epoch | None = None) -> None:
        """Give a sign of life; then learn how all stands, if the answer shows that the store has
        lost what was heard, or if nothing was.
        """
        link, asked, before = process.link, self.now, process.known.latest
        answered: list[tuple[Epoch, int]] = []

        def arrive() -> None:
            if self.down_until > self.now:
                self._at(process, self._delay(), lambda: self._cut_off(process, link))
                return
            answered.append((self.space.latest, self.store_time()))
            self._at(process, self._delay(), hear)

        def hear() -> None:
            (latest, now) = answered[0]
            if process.link == link:
                process.clock.read(now / 1000, process.time(asked), process.time(self.now))
                if heard is None or latest < heard:
                    process.heard = latest
                    self._read_all(process, latest, before)

        self._later(self._delay(), arrive)

    def _read_all(self, process: Process, latest: Epoch, before: Epoch) -> None:
        link, since = process.link, max(process.known.latest, latest)

        def read() -> None:
            records = self.space.records([NAME], self.store_time())
            self._at(process, self._delay(), lambda: hear(records))

        def hear(records: dict[str, Record]) -> None:
            if process.link != link:
                return
            now_known = Known()
            for name, record in records.items():
                now_known.add(name, record)
            process.known.become(now_known, since)
            at, epoch = process.time(self.now), Epoch(*process.machine.terms.epoch)
            stands = self._reader(process).rejoin(
                process.known.of(NAME), at, epoch, lost=latest < before
            )
            if not process.machine.agrees_with(stands):
                self.tell(process, stands)
            process.joining = process.missing = False
            unheard, process.unheard = process.unheard, []
            for news in unheard:
                self._news(process, news, link)
            self._send(process)

        self._later(self._delay(), read)

    def _news(self, process: Process, news: News, link: int) -> None:
        if process.link != link:
            return
        if process.joining or process.missing:
            process.unheard.append(news)
            return
        at = process.time(self.now)
        process.heard = max(process.heard, news.epoch)
        record = news.record
        if record is not None:
            process.known.add(NAME, record)
        message = AskAgain(at) if record is None else self._reader(process).adopt(record, at)
        self.tell(process, message)

    # The store

    def store_time(self) -> int:
        """The store's clock, in milliseconds."""
        return int((self.now + self.store_ahead) * 1000)

    def _take(self, process: Process, step: Step, again: bool = False) -> Answer | None:
        """Let the store take a step, if it is there; tell what has changed."""
        if self.down_until > self.now:
            return None
        before, now = self.space.latest, self.store_time()
        held = self.space._as_of(NAME, now)
        asker = Asker(process.owner, process.known.latest, self.quorum)
        answer = self.space.take(step, now, asker)
        after = self.space._as_of(NAME, now)
        told = self.space.news(before)
        self.witness.saw(asker, step, held, after, answer, now, before, told)
        assert not (again and told), "what was done is done twice"
        for news in told:
            if news.record is not None:
                self.unnoticed = self.unnoticed or news.epoch in self.changes
                self.changes[news.epoch] = news.record.state
                self.changed_at[news.epoch] = self.now
            for each in self.processes:
                self._broadcast(each, news)
        return answer

    def _broadcast(self, process: Process, news: News) -> None:
        link = process.link
        if not process.linked:
            return
        if self._happens(self.luck.gaps):

            def gap() -> None:
                if process.link == link and not (process.joining or process.missing):
                    process.missing = True
                    self._learn(process)

            self._at(process, self._delay(), gap)
            return
        for _ in range(1 + self._happens(self.luck.twice)):
            self._at(process, self._delay(), lambda: self._news(process, news, link))

    def die(self) -> None:
        """Let the store go away, and come back empty, or from an old copy, or as it was."""
        self.down_until = self.now + self.chance.uniform(0.1, 8.0)
        fate = self.chance.choice(["empty", "old", "whole"])
        if fate == "empty":
            self.has_lost = True
            self.space = Space()
            self.witness.begin_anew()
        elif fate == "old":
            old = copy.deepcopy((self.space, self.witness))
            self._later(self.chance.uniform(1.0, 10.0), lambda: self._come_back_as(*old))

    def _come_back_as(self, space: Space, witness: Witness) -> None:
        self.has_lost = True
        self.space, self.witness = space, witness
        witness.settings += 1_000_000  # it may have been set meanwhile
        self.down_until = max(self.down_until, self.now + 0.5)
        for process in self.processes:
            if process.linked:
                self._cut_off(process, process.link)
        if self._happens(0.5):  # a member that nobody knows has made news of another circuit
            self.unnoticed = True
            seen = max(each.known.latest for each in self.processes)
            latest = Asker("elsewhere", seen, 1)
            for state in (CircuitState.FORCED_OPEN, CircuitState.CLOSED):
                space.take(Forcing("another", state), self.store_time(), latest)

    def set_clock(self, seconds: float) -> None:
        """Set the store's clock forward or back."""
        self.store_ahead += seconds
        self.witness.settings += 1
        self.set_at = self.now

    def living_tokens(self) -> int:
        """How many probes the store has allowed that it takes for running."""
        now = self.store_time()
        leases = self.space._circuits.get(NAME, NOTHING).leases
        return sum(now < lease.ends for lease in leases.values())

    def record(self) -> Record | None:
        """What the store says."""
        return self.space.records([NAME], self.store_time()).get(NAME)
