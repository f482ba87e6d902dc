"""Processes that share circuits, one on each event loop: what becomes of those, and of clocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import pytest

from supervisor.testing import Backend
from tests.sharing.real.processes import Crew, Fleet, Worker, joined
from tests.sharing.real.servers import Server
from tests.support.worlds import BACKENDS

HOUR: Final = 3600.0
LEASE: Final = 2.0
UNHURRIED: Final = 60.0
"""Seconds: no machine is so busy that an answer takes longer."""

GROWS: Final = {"recovery_timeout": 0.5, "recovery_factor": 7200.0, "max_recovery_timeout": HOUR}
"""Half open soon, and after a failed probe not again while a test runs."""

each_in_turn = pytest.mark.parametrize(
    "backends",
    [(*BACKENDS[first:], *BACKENDS[:first]) for first in range(len(BACKENDS))],
    ids=BACKENDS,
)


@each_in_turn
def test_who_probes_is_killed(
    crew: Crew, backends: Sequence[Backend], server: Server, space: str
) -> None:
    """Another one may when the lease has ended, and not before."""
    policy = {"recovery_timeout": 0.5}
    options = {"space": space, "lease": LEASE, "timeout": UNHURRIED}
    with joined(crew.on(backends), server.url, policy=policy, **options) as fleet:
        holder, one, another = fleet.workers
        assert holder.ask("fail", "x")
        fleet.until_all("half_open", "x")
        began = time.monotonic()
        assert holder.ask("begin", "x")
        fleet.kill(holder)
        fleet.until(lambda: one.ask("begin", "x"))
        assert time.monotonic() - began > 0.98 * LEASE
        assert not another.ask("begin", "x")
        one.ask("end", "x", True)
        fleet.until_all("closed", "x")
        assert another.ask("begin", "x")


@each_in_turn
def test_who_probes_is_frozen(
    crew: Crew, backends: Sequence[Backend], server: Server, space: str
) -> None:
    """Another one may when the lease has ended; the late success of the first closes nothing."""
    options = {"space": space, "lease": LEASE, "timeout": UNHURRIED}
    with joined(crew.on(backends), server.url, policy=GROWS, **options) as fleet:
        holder, one, another = fleet.workers
        assert holder.ask("fail", "x")
        fleet.until_all("half_open", "x")
        assert holder.ask("begin", "x")
        holder.freeze()
        fleet.until(lambda: one.ask("begin", "x"))
        one.ask("end", "x", False)
        fleet.until(lambda: another.ask("state", "x") == "open")
        holder.go_on()
        holder.ask("end", "x", True)
        assert holder.ask("fail", "after it")
        fleet.until_all("open", "x", "after it")
        for each in fleet.workers:
            assert "closed" not in [state for state, _ in each.ask("changes", "x")]


def test_wall_clocks_do_not_matter(server: Server, space: str) -> None:
    """They are hours apart."""
    crew = [Worker(backend, ahead) for backend, ahead in zip(BACKENDS, (0, 7e3, -3e4), strict=True)]
    for each in crew:
        assert each.answer() == "ready"
    policy = {"recovery_timeout": 2.0}
    with joined(crew, server.url, policy=policy, space=space, timeout=UNHURRIED) as fleet:
        clocks = fleet.of_all("wall_clock")
        assert max(clocks) - min(clocks) > 10 * HOUR
        began = time.monotonic()
        for number, each in enumerate(fleet.workers):
            assert each.ask("fail", f"x{number}")
        names = [f"x{number}" for number in range(len(crew))]
        fleet.until_all("half_open", *names)
        assert time.monotonic() - began > 1.9
        one_probe_succeeds(fleet, "x0")
        fleet.until_all("closed", "x0")
    for each in crew:
        each.kill()


def one_probe_succeeds(fleet: Fleet, circuit: str) -> None:
    """Let all call at the same time, until one is admitted, and let that succeed."""
    admitted: list[Worker] = []

    def is_admitted() -> bool:
        began = fleet.of_all("begin", circuit)
        admitted.extend(each for each, has in zip(fleet.workers, began, strict=True) if has)
        return bool(admitted)

    fleet.until(is_admitted)
    assert len(admitted) == 1
    admitted[0].ask("end", circuit, True)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_the_clock_of_the_server_jumps(
    crew: Crew, server: Server, space: str, seconds: float
) -> None:
    """What is open stays so, what opens later is heard of, and one probe decides.

    It is the script that reads another time: the clock of this machine is not ours to set.
    """
    clock = f"ahead:{space}"
    server.do("SET", clock, "0")
    options = {"space": space, "timeout": UNHURRIED, "clock": clock}
    policy = {"recovery_timeout": 1.0}
    with joined(crew.on(BACKENDS), server.url, policy=policy, **options) as fleet:
        fleet.of_all("make", "long", {"recovery_timeout": HOUR / 2})
        assert fleet.workers[0].ask("fail", "long")
        fleet.until_all("open", "long")
        server.do("SET", clock, str(round(seconds * 1000)))
        assert fleet.workers[1].ask("fail", "x")
        fleet.until_all("half_open", "x")
        one_probe_succeeds(fleet, "x")
        fleet.until_all("closed", "x")
        fleet.until_all("open", "long")
        assert fleet.of_all("links") == [["FleetJoined"]] * len(BACKENDS)


def test_many_open_in_the_same_instant(crew: Crew, server: Server, space: str) -> None:
    """Each of them once, although all processes say so."""
    names = [f"circuit {number}" for number in range(200)]
    policy = {"recovery_timeout": HOUR}
    with joined(
        crew.on(BACKENDS), server.url, policy=policy, space=space, timeout=UNHURRIED
    ) as fleet:
        opened = fleet.of_all("fail", *names)
        assert sum(opened) >= len(names)
        fleet.until_all("open", *names)
        fleet.until(lambda: server.do("HLEN", f"circuits:{{{space}}}:circuits") == b":200\r\n")
        for number, each in enumerate(fleet.workers):
            assert each.ask("fail", f"after them {number}")
        fleet.until_all("open", *[f"after them {number}" for number in range(len(opened))])
        assert server.do("XLEN", f"circuits:{{{space}}}:news") == b":203\r\n"
