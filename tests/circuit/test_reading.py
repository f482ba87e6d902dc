"""Reads: exact, and no dearer for what waits in the mailbox."""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import supervisor
from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor, Window
from supervisor.circuit.reading import project
from supervisor.circuit.record import Circuit
from supervisor.machine import Machine
from supervisor.recording.format import plain
from tests.support.worlds import Down, collect_garbage, fail, poison, succeed

pytestmark = pytest.mark.anyio

MANY = 1000


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """All messages that any machine takes from now on."""
    taken: list[object] = []
    apply = Machine.apply

    def apply_and_count(machine: Machine, message: Any) -> Any:
        taken.append(message)
        return apply(machine, message)

    monkeypatch.setattr(Machine, "apply", apply_and_count)
    return taken


def circuit_of(owner: Supervisor, name: str) -> Circuit:
    circuit = owner.find(name)
    assert circuit is not None
    return circuit


@pytest.mark.parametrize("policy", [{}, {"window_seconds": 60.0, "failure_threshold": 2 * MANY}])
async def test_a_read_takes_only_what_came_after_the_last_one(
    policy: dict[str, Any], applied: list[object]
) -> None:
    """Many calls fail in one turn of the event loop, and each caller looks at the state."""
    async with Supervisor() as owner:
        breaker = owner.circuit("dependency", **policy)
        permits = [await breaker.acquire() for _ in range(MANY)]
        applied.clear()
        for failures, permit in enumerate(permits, 1):
            permit.fail(Down("down"))
            assert breaker.statistics().failed == failures
        assert len(applied) < 20 * MANY  # with each of them again: half a million
        await anyio.sleep(1)
        assert breaker.statistics().failed == MANY


async def test_reads_of_many_messages_are_exact(seeded: Any) -> None:
    """Each is what a machine comes to that takes all of them anew, at whatever time it is read."""
    async with Supervisor(max_restarts=1000) as owner:
        breaker = owner.circuit(
            "dependency", window_seconds=10.0, failure_threshold=40, recovery_timeout=1.0
        )
        await breaker.call(succeed)
        circuit = circuit_of(owner, "dependency")
        for number in range(60):
            permits = [await breaker.acquire() for _ in range(seeded.randrange(1, 30))]
            for permit in permits:
                end = seeded.choice([permit.fail, permit.succeed, permit.ignore])
                end()
                if number % 10 == 5:
                    poison(circuit)
                anew = circuit.machine.copy()
                for message in circuit.messages():
                    try:
                        anew.apply(message)
                    except Exception:
                        continue
                now = circuit.now()
                assert now is not None
                anew.advance(now)
                assert plain(project(circuit)) == plain(anew)
            if breaker.state != "closed":
                breaker.reset()
                await anyio.sleep(1.5)


@pytest.mark.parametrize("fields", [{}, {"window_seconds": 10}, {"window_calls": 5}])
async def test_figures_of_all_are_those_of_each(fields: dict[str, Any]) -> None:
    """Whatever has happened and not happened, and whatever time alone has changed since."""
    async with Supervisor() as owner:
        breakers = [owner.circuit(f"c{n}", failure_threshold=3, **fields) for n in range(7)]
        _, called, failed, mended, opened, measured, forced = breakers
        for breaker in breakers[1:]:
            await breaker.call(succeed)
        for breaker, times in ((failed, 1), (mended, 2), (opened, 3), (measured, 2)):
            for _ in range(times):
                with pytest.raises(Down):
                    await breaker.call(fail)
        measured.only_measure()
        forced.force_open()
        for wait in (0, 0.1, 1, 9, 3, 60):
            await anyio.sleep(wait)
            await called.call(succeed)
            await mended.call(succeed)
            for name, figures in owner.statistics().items():
                circuit = circuit_of(owner, name)
                machine = project(circuit)
                assert figures.state == machine.state
                assert figures.would_be == machine.would_be
                assert figures.failure_count == machine.failure_count
                assert figures.retry_after == machine.retry_after(machine.latest)
                assert (figures.started, figures.succeeded) == (circuit.started, machine.succeeded)
                assert figures == owner[name].statistics()


@pytest.mark.parametrize("order", ["force_open", "force_close", "disable", "reset"])
async def test_a_success_that_comes_too_late_is_stale(order: str) -> None:
    """It has been counted with those before it, and belongs to another period."""
    breaker = CircuitBreaker("x")

    async def last() -> None:
        getattr(breaker, order)()
        await anyio.sleep(1)

    await breaker.call(succeed)
    await breaker.call(last)
    assert (breaker.statistics().stale, breaker.statistics().succeeded) == (1, 2)
    await anyio.sleep(1)
    assert (breaker.statistics().stale, breaker.statistics().succeeded) == (1, 2)


async def ignore(breaker: CircuitBreaker) -> None:
    (await breaker.acquire()).ignore()


async def fail_within_slack(breaker: CircuitBreaker) -> None:
    with pytest.raises(Down):
        await breaker.call(fail)


async def ask_at_once(breaker: CircuitBreaker) -> None:
    """Ask the actor, many at a time."""
    breaker.force_open()
    async with anyio.create_task_group() as tasks:
        for _ in range(MANY):
            tasks.start_soon(refused, breaker)
    breaker.release()


async def refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(CircuitBreakerOpenError):
        await breaker.waiting(0.1).call(succeed)


def kept() -> int:
    """Bytes that the package has taken since tracing began, and has not given back."""
    collect_garbage()
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    package = Path(supervisor.__file__).parent
    of_package = tracemalloc.Filter(inclusive=True, filename_pattern=str(package / "*"))
    of_clocks = tracemalloc.Filter(inclusive=False, filename_pattern=str(package / "testing" / "*"))
    traces = snapshot.filter_traces([of_package, of_clocks])
    return sum(each.size for each in traces.statistics("filename"))


@pytest.mark.parametrize("use", [ignore, fail_within_slack])
async def test_an_idle_circuit_keeps_no_messages(
    use: Callable[[CircuitBreaker], Awaitable[None]],
) -> None:
    """What many calls have reported takes no room once the actor has had its turn."""
    async with Supervisor() as owner:
        policy: dict[str, Any] = {"window_seconds": 10.0, "failure_threshold": 100 * MANY}
        for name in ("used", "another"):
            breaker = owner.circuit(name, **policy)
            await use(breaker)
        await anyio.sleep(1)
        breaker = owner["used"]
        collect_garbage()
        tracemalloc.start()
        for _ in range(MANY):
            await use(breaker)
        await anyio.sleep(1)
        assert kept() < 4096
        assert breaker.statistics().ignored + breaker.statistics().failed == MANY + 1


async def test_an_idle_circuit_keeps_no_room_for_those_who_waited() -> None:
    """Nor does it for calls that were kept while they ran."""

    async def use(breaker: CircuitBreaker) -> None:
        await ask_at_once(breaker)
        async with anyio.create_task_group() as tasks:
            for _ in range(MANY):
                tasks.start_soon(breaker.call, anyio.sleep, 1)
        await anyio.sleep(10)

    async with Supervisor() as owner:
        policy: dict[str, Any] = {"slow_call_duration": 5.0}
        await use(owner.circuit("another", **policy))  # what is kept once, by whomever
        breaker = owner.circuit("used", **policy)
        await breaker.call(succeed)
        await anyio.sleep(10)
        collect_garbage()
        tracemalloc.start()
        await use(breaker)
        assert kept() < 4096
        assert breaker.statistics().succeeded == MANY + 1


@pytest.mark.parametrize("calls", [10, 49, 1000])
def test_the_rates_of_a_window_are_as_near_as_can_be(calls: int) -> None:
    """To compare them with a number: 1 of 10 is 0.1, also where 9 of 10 failed."""
    for failures in range(calls + 1):
        window = Window(calls, failures, slow=0)
        assert (window.failure_rate, window.success_rate) == (
            failures / calls,
            (calls - failures) / calls,
        )


@pytest.mark.parametrize(
    ("policy", "rates"),
    [
        ({"window_calls": 10}, (0.25, 0.75, 0.0)),
        ({"window_calls": 2, "failure_threshold": 2, "minimum_calls": 2}, (0.0, 1.0, 0.0)),
        ({"window_seconds": 60, "failure_rate": 0.5}, (0.25, 0.75, 0.0)),
        ({"window_seconds": 60}, (None, None, None)),  # nothing depends on successes
        (
            {"window_calls": 10, "slow_call_duration": 1.0, "slow_call_rate": 0.5},
            (0.25, 0.75, 0.25),
        ),
    ],
)
async def test_the_rates_of_a_window(
    policy: dict[str, Any], rates: tuple[float | None, float | None, float | None]
) -> None:
    """One of four calls fails, which is slow where calls can be; of no call, nothing is said."""

    def read(breaker: CircuitBreaker) -> tuple[float | None, float | None, float | None]:
        window = breaker.statistics().window
        assert window is not None
        return window.failure_rate, window.success_rate, window.slow_call_rate

    async with Supervisor() as owner:
        breaker = owner.circuit("x", **policy)
        assert read(breaker) == (None, None, None)
        permit = await breaker.acquire()
        await anyio.sleep(2)
        permit.fail()
        for _ in range(3):
            await breaker.call(succeed)
        assert read(breaker) == rates
