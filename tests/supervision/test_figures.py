"""Figures for any thread: of circuits that there are, and of those that have ended."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitState,
    CircuitStoppedError,
    Figures,
    Fleet,
    Supervisor,
    Totals,
    Window,
    all_figures,
    forget_kept_circuits,
)
from supervisor.circuit import figures as circuit_figures
from supervisor.circuit import reading
from supervisor.circuit.record import Circuit
from supervisor.machine import Machine, Withdraw
from supervisor.supervision import current_supervisor, figures
from supervisor.testing import Backend, run_in_virtual_time
from tests.sharing.fleets import FaultyStore, fleet, heard
from tests.support.observed import counted_anew, in_thread
from tests.support.worlds import (
    BACKENDS,
    Down,
    collect_garbage,
    fail,
    fail_times,
    half_open,
    succeed,
)

pytestmark = pytest.mark.anyio

CLOSED, OPEN = CircuitState.CLOSED, CircuitState.OPEN


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing has been counted in this process yet, nor is afterwards."""
    with counted_anew():
        yield


def summed(each: list[Figures]) -> dict[str | None, Totals]:
    """What has been counted under each name by all of them."""
    sums: dict[str | None, Totals] = {}
    for one in each:
        for name, counted in (*one.ended.items(), *one.circuits.items()):
            key = name if name in figures._names else None
            sums[key] = sums.get(key, Totals()) + counted
    return sums


async def test_another_thread_reads_what_the_event_loop_reads() -> None:
    """While it runs, and is blocked by that; and once the circuits are gone."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("llm", failure_threshold=2, recovery_timeout=10.0)
        await breaker.call(succeed)
        await fail_times(breaker, 2)
        await anyio.sleep(1)
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(succeed)
        read: Figures = in_thread(supervisor.figures)
        assert read.circuits == {"llm": breaker.statistics()}
        assert read.circuits["llm"].refusals == {"open": 1}
        assert read.circuits["llm"].retry_after == 9.0
        assert (read.ended, read.transitions) == ({}, {"llm": {(CLOSED, OPEN): 1}})
    read = in_thread(supervisor.figures)
    assert read.circuits == {}
    assert read.ended["llm"] == Totals(
        started=4, succeeded=1, failed=2, rejected=1, refusals={"open": 1}
    )


@pytest.mark.parametrize("policy", [{}, {"window_calls": 10}, {"window_seconds": 10.0}])
async def test_what_the_actor_has_not_heard_is_counted(policy: dict[str, Any]) -> None:
    """And it is told how old that is which only the actor knows."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", ignore=LookupError, **policy)
        await fail_times(breaker, 1)
        await anyio.sleep(2)
        await breaker.call(succeed)
        await fail_times(breaker, 1)
        with anyio.move_on_after(1):
            await breaker.call(anyio.sleep_forever)
        permit = await breaker.acquire()
        (await breaker.acquire()).ignore()
        exact, read = breaker.statistics(), supervisor.figures().circuits["x"]
        counts = ("started", "succeeded", "failed", "ignored", "cancelled", "in_flight")
        assert [getattr(read, each) for each in counts] == [getattr(exact, each) for each in counts]
        assert (read.in_flight, read.age, exact.age) == (1, 3.0, 0.0)
        permit.succeed()


async def test_a_window() -> None:
    """What is in it, and without what is too old by now."""
    async with Supervisor() as supervisor:
        seconds = supervisor.circuit("s", window_seconds=10.0, failure_rate=0.9, minimum_calls=5)
        calls = supervisor.circuit("c", window_calls=10, slow_call_rate=1.0, slow_call_duration=1.0)
        await fail_times(seconds, 2)
        await seconds.call(succeed)
        await calls.call(succeed)
        await calls.call(anyio.sleep, 2)
        await anyio.sleep(3)
        for read in (supervisor.statistics(), supervisor.figures().circuits):
            assert read["c"].window == Window(calls=2, failures=0, slow=1)
        assert supervisor.statistics()["s"].window == Window(calls=3, failures=2, slow=0)
        await anyio.sleep(10)
        for read in (supervisor.statistics(), supervisor.figures().circuits):
            assert read["s"].window == Window(0, 0, 0)
            assert read["c"].window == Window(2, 0, 1)
        seconds.reset()
        await anyio.sleep(1)
        for read in (supervisor.statistics(), supervisor.figures().circuits):
            assert read["s"].window == Window(0, 0, 0)


async def test_why_calls_were_refused() -> None:
    """Each is counted under one reason."""
    async with half_open() as breaker:
        assert breaker.statistics().refusals == {}
        probe = await breaker.acquire()
        await refuse(breaker, 3)
        probe.fail()
        await refuse(breaker, 2)
        breaker.force_open()
        await refuse(breaker, 1)
        supervisor = current_supervisor()
        expected = {"half_open": 3, "open": 2, "forced_open": 1}
        assert breaker.statistics().refusals == expected
        assert supervisor.figures().circuits["dependency"].refusals == expected
        assert hash(breaker.statistics())
        supervisor.stop("dependency")
        with pytest.raises(CircuitStoppedError):
            await breaker.call(succeed)
        total = supervisor.figures().ended["dependency"]
        assert total.refusals == {**expected, "stopped": 1}
        assert total.rejected == 7


async def test_a_share_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As is a request that crashes the actor."""
    async with half_open(ramp=100.0) as breaker:
        await breaker.call(succeed)
        await refuse(breaker, 40)
        assert breaker.statistics().refusals["ramp"] > 10
        monkeypatch.setattr(Machine, "_ask", None)
        with pytest.raises(CircuitCrashedError):
            await breaker.call(succeed)
        assert breaker.statistics().refusals["crashed"] == 1


async def test_sums_do_not_go_down_when_circuits_end() -> None:
    """However many of them: each is among the circuits, or among what has ended."""
    async with Supervisor(max_circuits=3) as supervisor:
        for number in range(50):
            breaker = supervisor.circuit(f"tenant:{number % 10}")
            await breaker.call(succeed)
            await anyio.sleep(0.1)
            sums = summed([supervisor.figures()])
            assert sum(each.succeeded for each in sums.values()) == number + 1
        assert {name: each.succeeded for name, each in sums.items()} == {
            f"tenant:{number}": 5 for number in range(10)
        }


async def test_names_of_the_past_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names beyond the first ones are added up under None."""
    monkeypatch.setattr(figures, "NAMES", 2)
    async with Supervisor() as supervisor:
        for number in range(30):
            breaker = supervisor.circuit(str(number), failure_threshold=1)
            await fail_times(breaker, 1)
            await anyio.sleep(0.1)
            supervisor.stop(str(number))
        read = supervisor.figures()
        assert {name: each.failed for name, each in read.ended.items()} == {
            "0": 1,
            "1": 1,
            None: 28,
        }
        assert {name: dict(ways) for name, ways in read.transitions.items()} == {
            "0": {(CLOSED, OPEN): 1},
            "1": {(CLOSED, OPEN): 1},
            None: {(CLOSED, OPEN): 28},
        }


async def test_what_only_would_have_changed_is_no_transition() -> None:
    """A circuit that only measures stays as it is."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        breaker.only_measure()
        await fail_times(breaker, 2)
        await anyio.sleep(1)
        (ways,) = supervisor.figures().transitions.values()
        assert ways == {(CLOSED, CircuitState.METRICS_ONLY): 1}


@pytest.mark.parametrize("keep", [None, "process"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_event_loops_of_the_process(backend: Backend, keep: Any) -> None:
    """Those that run, in whatever threads, and those that have ended; what is kept counts once."""

    async def live(calls: int) -> None:
        async with Supervisor(keep=keep) as supervisor:
            await supervisor.circuit("gone").call(succeed)
            supervisor.stop("gone")
            for _ in range(calls):
                await supervisor.circuit("llm").call(succeed)
            known = summed(in_thread(all_figures))
            assert known["llm"].succeeded == sum(range(calls + 1))
            assert known["gone"].succeeded == calls

    for calls in (1, 2, 3):
        run_in_virtual_time(live, calls, backend=backend)
    assert ("llm" in summed(all_figures())) == (keep is None)
    assert summed(all_figures())["gone"].succeeded == 3
    forget_kept_circuits()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_default_supervisor_leaves_its_figures(backend: Backend) -> None:
    """When its event loop ends."""

    async def live() -> None:
        await fail_times(CircuitBreaker("llm", failure_threshold=1), 1)
        await anyio.sleep(1)

    for _ in range(2):
        run_in_virtual_time(live, backend=backend)
        collect_garbage()
    (past,) = all_figures()
    assert past.ended["llm"].failed == 2
    assert past.transitions["llm"] == {(CLOSED, OPEN): 2}


async def test_a_supervisor_that_has_ended_is_not_counted_twice() -> None:
    """Though it is still there, and may be read."""
    async with Supervisor() as supervisor:
        await supervisor.circuit("llm").call(succeed)
    assert supervisor.figures().ended["llm"].succeeded == 1
    assert summed(all_figures())["llm"].succeeded == 1


async def test_a_clock_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop may have been closed: all that has been counted can be read."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        await fail_times(breaker, 1)
        await anyio.sleep(1)
        monkeypatch.setattr(figures, "_time_of", lambda _: -math.inf)
        read = supervisor.figures().circuits["x"]
        assert (read.failed, read.age) == (1, 0.0)


def test_a_loop_that_raises_when_it_is_asked() -> None:
    """Has the time of long ago."""
    assert figures._time_of(cast("Any", None)) == -math.inf


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_threads_read_while_circuits_work(backend: Backend) -> None:
    """No counter of any name goes down in any of them, and in the end none is missing."""
    ends, wrong, readings = threading.Event(), list[Any](), [0, 0]

    def read(number: int) -> None:
        latest: dict[str | None, Totals] = {}
        while not ends.is_set() or not readings[number]:
            now = summed(all_figures())
            for name, before in latest.items():
                counters = ("succeeded", "failed", "cancelled", "rejected")
                wrong.extend(
                    (name, before, now[name])
                    for each in counters
                    if getattr(before, each) > getattr(now[name], each)
                )
            latest = now
            readings[number] += 1

    async def live() -> None:
        async with Supervisor(max_circuits=5) as supervisor:
            for number in range(1000):
                breaker = supervisor.circuit(f"c{number % 7}", failure_threshold=3)
                with suppress(Down, CircuitBreakerOpenError):
                    await breaker.call(fail if number % 3 else succeed)
                if number % 10 == 0:
                    await anyio.sleep(1)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    run_in_virtual_time(live, backend=backend)
    ends.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    sums = summed(all_figures()).values()
    assert sum(each.succeeded + each.failed + each.rejected for each in sums) == 1000


async def refuse(breaker: CircuitBreaker, times: int) -> None:
    """Make calls of which some at least are refused."""
    for _ in range(times):
        with suppress(CircuitBreakerOpenError):
            await breaker.call(succeed)


async def test_a_call_that_is_refused_while_its_circuit_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reading is made anew."""
    async with half_open() as breaker:
        circuit = current_supervisor().find("dependency")
        assert circuit is not None
        drawn: list[Any] = []

        def draw(*args: Any) -> Any:
            if not drawn:
                circuit.started, circuit.rejected = circuit.started + 1, circuit.rejected + 1
            drawn.append(reading.drawn_from(*args))
            return drawn[-1]

        monkeypatch.setattr(circuit_figures, "drawn_from", draw)
        read = current_supervisor().figures().circuits["dependency"]
        assert [each.rejected for each in drawn] == [0, 1]
        assert read.refusals == breaker.statistics().refusals == {"open": 1}


async def test_a_circuit_that_ends_while_all_are_read() -> None:
    """It is counted once."""

    class Table(dict[str, Circuit]):
        def values(self) -> Any:
            present = super().values()
            if "x" in self:
                history.end(self.pop("x"))
            return list(present)

    async with Supervisor() as supervisor:
        await supervisor.circuit("x").call(succeed)
        circuit = supervisor.find("x")
        assert circuit is not None
        history = figures.History(Table(x=circuit))
        read = history.read()
        assert read.circuits == {}
        assert sum(each.succeeded for each in read.ended.values()) == 1


async def test_a_supervisor_that_ends_while_all_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted once."""
    async with Supervisor() as supervisor:
        await supervisor.circuit("x").call(succeed)

        def close_first(history: figures.History) -> Figures:
            monkeypatch.undo()
            history.close(goes_on=False)
            return history.read()

        monkeypatch.setattr(figures.History, "read", close_first)
        assert summed(all_figures())["x"].succeeded == 1


async def test_a_window_whose_calls_the_actor_knows() -> None:
    """It is told without those that are too old by now."""
    async with Supervisor() as supervisor:
        policy: Any = {"failure_rate": 0.9, "minimum_calls": 100}
        breaker = supervisor.circuit("x", window_seconds=10.0, **policy)
        await fail_times(breaker, 20)
        await anyio.sleep(1)
        read = supervisor.figures().circuits["x"]
        assert (read.window, read.age) == (Window(20, 20, 0), 0.0)
        await anyio.sleep(10)
        assert supervisor.figures().circuits["x"].window == Window(0, 0, 0)


async def test_a_caller_who_has_left() -> None:
    """Is counted before the actor has heard of it."""
    async with half_open() as breaker:
        circuit = current_supervisor().find("dependency")
        assert circuit is not None
        circuit.started += 1
        circuit.put(Withdraw(circuit.last_permit + 1, None))
        read = current_supervisor().figures().circuits["dependency"]
        assert (read.cancelled, read.in_flight) == (1, 0)
        assert breaker.statistics().cancelled == 1


async def test_how_things_stand_with_a_fleet() -> None:
    """As `supervisor.fleet` says, in any thread; what has ended leaves its counts."""
    async with Supervisor() as alone:
        assert alone.figures().fleet is None
    assert [each.fleet for each in all_figures()] == [None]
    async with fleet(2) as (store, (first, second), _):
        assert first.fleet == in_thread(first.figures).fleet
        assert first.fleet is not None
        assert (first.fleet.linked, first.fleet.joined, first.fleet.lost) == (True, 1, 0)
        store.cut()
        await heard()
        fleets = [each.figures().fleet for each in (first, second)]
        assert [each and (each.linked, each.lost) for each in fleets] == [(False, 1)] * 2
    assert first.figures().fleet == Fleet(linked=False, members=0, owner="", joined=1, lost=1)
    (past,) = all_figures()
    assert past.fleet == Fleet(linked=False, members=0, owner="", joined=2, lost=2)


async def test_who_has_brought_about_the_state_of_a_circuit() -> None:
    """Of one that is shared, also who has closed it."""
    store = FaultyStore(local=("local",))
    async with fleet(2, store) as (_, (first, _second), (here, there)):
        local = first.circuit("local").statistics()
        assert (local.shared, local.origin) == (False, "here")
        await fail_times(there, 1)
        await heard()
        assert [each.statistics().origin for each in (here, there)] == ["fleet", "here"]
        await anyio.sleep(10.1)
        await here.call(succeed)
        await heard()
        told = [each.statistics() for each in (here, there)]
        assert [(each.state, each.shared, each.origin) for each in told] == [
            (CLOSED, True, "here"),
            (CLOSED, True, "fleet"),
        ]
        assert first.figures().circuits["x"].origin == "here"
