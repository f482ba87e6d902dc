"""What the processes are told, and what comes of it."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.fleet.crew import Crew, ProblemError, crew
from benchmarks.fleet.server import running
from benchmarks.fleet.sharers import LOCAL, OURS, SHARERS

ON_TRIO: Final = "shared, trio"
"""Ours on the other kind of event loop, beside the one that all of them run on."""


EXPERIMENTS: Final = ("propagation", "outage", "commands", "cost", "kill", "down")

PROBED_AFTER: Final = 4.0
"""Seconds that a circuit is open whose probe is to be killed: all know of it by then."""


PHASE: Final = 1.0
"""Seconds up to which an opening comes after all have connected."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is.

    Attributes:
        processes: that share a circuit.
        rounds: openings whose way to the siblings is measured.
        outages: of the dependency, each of `outage` seconds.
        rate: calls per second of each process.
        steady: seconds of calls that succeed.
        costs: turns in which the cost of a call is measured.
        calls: in each of these turns; a tenth of them for who asks the server.
        kills: of processes that probe.
        patience: seconds after which it is taken for "never".
    """

    processes: int = 8
    rounds: int = 40
    outages: int = 3
    outage: float = 4.0
    rate: float = 50.0
    steady: float = 20.0
    costs: int = 15
    calls: int = 20_000
    kills: int = 2
    patience: float = 15.0


FULL: Final = Plan()
QUICK: Final = Plan(rounds=5, outages=1, steady=6.0, costs=5, calls=3_000, kills=1)


@dataclass(slots=True)
class Found:
    """What one contestant has shown.

    Attributes:
        told: seconds from an opening until each sibling refused a call; None: not in time.
        dead: calls of all processes that reached the dead dependency, by outage.
        late_calls: those after the first refusal anywhere, probes included.
        recovered: seconds from its return to the last process's first success, by outage.
        sent, executed: commands per call: that its client sends, and with those in scripts.
        cost: CPU seconds of a success of a closed circuit, by turn.
        after_kill: seconds until a call is admitted; None: not in time.
        down: seconds that each call takes when the server is gone, the first one first.
        down_ratios: CPU seconds of a success then, by those of a circuit that is not shared.
        problems: what went wrong.
    """

    told: list[float | None] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    late_calls: list[int] = field(default_factory=list)
    recovered: list[float | None] = field(default_factory=list)
    sent: float | None = None
    executed: float | None = None
    cost: list[float] = field(default_factory=list)
    after_kill: list[float | None] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    down_ratios: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Results = dict[str, Found]
Tell = Callable[[str], None]


class Experiments:
    """All of them, on one server.

    Args:
        plan: how thorough.
        names: who takes part.
        program: the server's.
        crews: processes on asyncio and, for ours, on trio.
        url: the server's that all but the last experiment use.

    Attributes:
        results: what each of them has shown.
        late: by how many seconds processes were late that had slept for 2 ms: what the machine is
            good for.
    """

    def __init__(
        self, plan: Plan, names: Sequence[str], program: str, crews: Mapping[str, Crew], url: str
    ) -> None:
        self.results: Results = {name: Found() for name in names}
        self.late: list[float] = []
        self._plan = plan
        self._program = program
        self._crews = crews
        self._url = url
        self._names = (f"circuit {number}" for number in itertools.count())

    def run(self, tell: Tell, chosen: Collection[str] = EXPERIMENTS) -> None:
        """Let the contestants take turns in each of these experiments."""
        plan = self._plan
        for what, times, experiment in (
            ("propagation", plan.rounds, self._propagation),
            ("outage", plan.outages, self._outage),
            ("commands", 1, self._commands),
            ("cost", plan.costs, self._cost),
            ("kill", plan.kills, self._kill),
            ("down", 1, self._down),
        ):
            for number in range(times if what in chosen else 0):
                tell(f"{what} {number + 1} of {times}")
                for name in random.sample(sorted(self.results), len(self.results)):
                    with self._reported(name, what):
                        experiment(name, self.results[name])

    @contextmanager
    def _reported(self, name: str, what: str) -> Generator[None, None, None]:
        """Keep a contestant's failure to itself."""
        try:
            yield
        except ProblemError as error:
            self.results[name].problems.append(f"{what}: {error}")

    def _crew(self, name: str) -> tuple[Crew, str]:
        return (self._crews["trio"], OURS) if name == ON_TRIO else (self._crews["asyncio"], name)

    def _propagation(self, name: str, found: Found) -> None:
        """One process opens a circuit; when do the others know?"""
        crew, who = self._crew(name)
        if who == LOCAL or SHARERS[who].asks:
            return
        first, *siblings = random.sample(crew.children, len(crew.children))
        with crew.connected(who, self._url):
            circuit = {"who": who, "name": next(self._names)}
            crew.tell(siblings, "watch", **circuit, within=5.0)
            crew.hear(siblings)
            time.sleep(random.uniform(0.0, PHASE))  # noqa: S311  (whoever polls has just done so)
            (opened,) = crew.ask("trip", [first], **circuit)
            seen = crew.hear(siblings)
        for each in seen:
            found.told.append(None if each["at"] is None else max(0.0, each["at"] - opened))
            self.late += each["late"]

    def _outage(self, name: str, found: Found) -> None:
        """All call a dependency that is down from the beginning, and comes back."""
        crew, who = self._crew(name)
        plan = self._plan
        with crew.connected(who, self._url):
            began = time.monotonic() + 0.2
            seen = crew.ask(
                "outage",
                who=who,
                name=next(self._names),
                began=began,
                back=began + plan.outage,
                seconds=2 * plan.outage + 1.0,
                rate=plan.rate,
            )
        dead = [at for each in seen for at in each["dead"]]
        first = min((at for each in seen for at in each["refused"]), default=math.inf)
        found.dead.append(len(dead))
        found.late_calls.append(sum(at > first for at in dead))
        recovered = [each["recovered"] for each in seen]
        found.recovered.append(None if None in recovered else max(recovered))

    def _commands(self, name: str, found: Found) -> None:
        """All make calls that succeed; what does the server hear of it?"""
        import redis  # noqa: PLC0415  (it need not be there)

        server: Any = redis.Redis.from_url(self._url)
        crew, who = self._crew(name)
        circuit = {"who": who, "name": next(self._names)}
        with crew.connected(who, self._url):
            crew.ask("waits", **circuit, calls=1)
            server.config_resetstat()
            began = time.monotonic() + 0.1
            plan = self._plan
            calls = sum(
                crew.ask("steady", **circuit, began=began, seconds=plan.steady, rate=plan.rate)
            )
            stats = server.info("commandstats")
        counts = {key.removeprefix("cmdstat_"): each["calls"] for key, each in stats.items()}
        for own in ("config|resetstat", "info"):
            counts.pop(own, None)
        sends = SHARERS[who].sends
        sent = sum(n for command, n in counts.items() if sends is None or command in sends)
        found.sent, found.executed = sent / calls, sum(counts.values()) / calls

    def _cost(self, name: str, found: Found) -> None:
        """A success of a closed circuit."""
        crew, who = self._crew(name)
        one = crew.children[:1]
        circuit = {"who": who, "name": next(self._names)}
        with crew.connected(who, self._url, one):
            found.cost += crew.ask("cost", one, **circuit, calls=self._calls(who))

    def _calls(self, who: str) -> int:
        return self._plan.calls // (10 if SHARERS[who].asks else 1)

    def _kill(self, name: str, found: Found) -> None:
        """A process is killed while it probes; when may another one?"""
        _, who = self._crew(name)
        if who == LOCAL:
            return
        backend = "trio" if name == ON_TRIO else "asyncio"
        circuit = {"who": who, "name": next(self._names), "recovery": PROBED_AFTER}
        with crew(backend, 2) as both:
            prober, other = ([child] for child in both.children)
            both.ask("connect", who=who, url=self._url)
            both.ask("trip", prober, **circuit)
            within = self._plan.patience
            if both.ask("seek", other, **circuit, within=within, admitted=False) == [None]:
                raise ProblemError("the other process does not know that it is open")
            both.ask("hold", prober, **circuit)
            prober[0].kill()
            killed = time.monotonic()
            (at,) = both.ask("seek", other, **circuit, within=within, admitted=True)
            found.after_kill.append(None if at is None else at - killed)

    def _down(self, name: str, found: Found) -> None:
        """The server of a circuit that is closed is gone; what is a call?"""
        crew, who = self._crew(name)
        one = crew.children[:1]
        circuit = {"who": who, "name": next(self._names)}
        with running(self._program) as url:
            crew.ask("connect", one, who=who, url=url)
            crew.ask("waits", one, **circuit, calls=3)
        try:
            (found.down,) = crew.ask("waits", one, **circuit, calls=3)
            if who == OURS:
                found.down_ratios += self._beside_local(crew, circuit)
        finally:
            crew.ask("disconnect", one, who=who)

    def _beside_local(self, crew: Crew, circuit: Mapping[str, str]) -> Iterator[float]:
        """Yield the cost of a success by that of a circuit that is not shared, turn by turn."""
        one = crew.children[:1]
        local = {"who": LOCAL, "name": "local"}
        with crew.connected(LOCAL, "", one):
            for _ in range(self._plan.costs):
                costs = {}
                for each in random.sample([circuit, local], 2):
                    (costs[each["who"]],) = crew.ask("cost", one, **each, calls=self._plan.calls)
                yield costs[OURS] / costs[LOCAL]
