"""Callers who wait to be admitted: in order, up to their own deadlines, and without a trace."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    Permit,
    Supervisor,
    deadline,
)
from supervisor.circuit.record import GivenUp
from supervisor.testing import jump
from tests.support.worlds import (
    Dependency,
    Down,
    crash,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio


async def by_call(breaker: CircuitBreaker, wait: float, wait_for: Any = "closed") -> None:
    await breaker.waiting(wait, wait_for).call(succeed)


async def by_decorator(breaker: CircuitBreaker, wait: float, wait_for: Any = "closed") -> None:
    await breaker.waiting(wait, wait_for)(succeed)()


async def by_permit(breaker: CircuitBreaker, wait: float, wait_for: Any = "closed") -> None:
    with await breaker.acquire(wait=wait, wait_for=wait_for):
        await succeed()


every_wait = pytest.mark.parametrize("wait", [by_call, by_decorator, by_permit])


async def opened(supervisor: Supervisor, name: str = "x", **policy: Any) -> CircuitBreaker:
    """A circuit that has just opened, for 30 seconds."""
    breaker = supervisor.circuit(name, **{"failure_threshold": 1, **policy})
    await fail_times(breaker, 1)
    assert breaker.retry_after == 30.0
    return breaker


async def wait_and_fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(Down):
        await breaker.waiting(1000).call(fail)


def on_trio() -> bool:
    return sniffio.current_async_library() == "trio"


def left_behind(breaker: CircuitBreaker) -> tuple[int, int]:
    now = breaker.statistics()
    return now.waiting, now.in_flight


class TestAdmission:
    """When those who wait are admitted."""

    @every_wait
    async def test_at_once_while_closed(self, wait: Any) -> None:
        """Nobody waits then: not for a single checkpoint."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        others = 0

        async def other() -> None:
            nonlocal others
            others += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            for _ in range(100):
                await wait(breaker, 5)
            assert others == 0

    @every_wait
    async def test_as_a_probe(self, wait: Any) -> None:
        """As soon as the circuit is half-open."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            await wait(breaker, 40)
            assert (anyio.current_time(), breaker.state) == (30.0, "closed")

    @every_wait
    async def test_through_further_failed_recoveries(self, wait: Any) -> None:
        """By default, up to the deadline."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await opened(supervisor)
            for _ in range(3):
                tasks.start_soon(wait_and_fail, breaker)
                await settle_down()
            for _ in range(2):
                tasks.start_soon(wait, breaker, 1000)
            await settle_down()
            for waiting in (5, 4, 3, 2):
                assert (breaker.state, breaker.statistics().waiting) == ("open", waiting)
                await anyio.sleep(30)
                await settle_down()
            assert (anyio.current_time(), breaker.state) == (120.0, "closed")
            assert (breaker.statistics().times_opened, left_behind(breaker)) == (4, (0, 0))

    @every_wait
    async def test_after_a_reset(self, wait: Any) -> None:
        """A circuit that is closed by hand admits everybody."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await opened(supervisor)
            for _ in range(5):
                tasks.start_soon(wait, breaker, 40)
            await anyio.sleep(1)
            assert left_behind(breaker) == (5, 5)
            breaker.reset()
            await settle_down()
            assert (anyio.current_time(), left_behind(breaker)) == (1.0, (0, 0))
            assert breaker.statistics().succeeded == 5

    @every_wait
    @pytest.mark.parametrize("how", ["release", "force_close", "disable", "only_measure"])
    async def test_at_a_circuit_that_was_opened_by_hand(self, wait: Any, how: str) -> None:
        """Until it is released, or admits calls for another reason."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            breaker.force_open()
            for _ in range(3):
                tasks.start_soon(wait, breaker, 1e6)
            await anyio.sleep(80_000)
            assert left_behind(breaker) == (3, 3)
            getattr(breaker, how)()
            await settle_down()
            assert (anyio.current_time(), left_behind(breaker)) == (80_000, (0, 0))
            assert breaker.statistics().succeeded == 4

    @every_wait
    async def test_when_a_probe_gives_its_place_up(self, wait: Any) -> None:
        """By being ignored or cancelled; one place for one of them."""
        async with half_open() as breaker, anyio.create_task_group() as tasks:
            permit = await breaker.acquire()
            tasks.start_soon(wait, breaker, 40)
            await anyio.sleep(1)
            assert left_behind(breaker) == (1, 2)
            permit.ignore()
            await settle_down()
            assert (breaker.state, left_behind(breaker)) == ("closed", (0, 0))

    @every_wait
    async def test_during_a_ramp(self, wait: Any, seeded: random.Random) -> None:
        """Again with every step of it, and at its end at the latest."""
        async with half_open(ramp=10, ramp_start=0.01) as breaker:
            await breaker.call(succeed)
            start = anyio.current_time()
            admitted: list[float] = []
            random.setstate(seeded.getstate())

            async def caller() -> None:
                await wait(breaker, 60)
                admitted.append(anyio.current_time() - start)

            async with anyio.create_task_group() as tasks:
                for _ in range(200):
                    tasks.start_soon(caller)
            draws = [seeded.random() for _ in range(200)]
            steps = [next(n for n in range(11) if draw < 0.01 + 0.099 * n) for draw in draws]
            assert [round(time, 9) for time in admitted] == sorted(steps)

    async def test_a_recovery_that_comes_too_late(self) -> None:
        """For the deadline of its caller: it is refused at once. Other limits end it in silence."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            for wait in (by_call, by_decorator, by_permit):
                for seconds in (1, 30):
                    with deadline(seconds), pytest.raises(CircuitBreakerOpenError) as late:
                        await wait(breaker, 40)
                    assert (late.value.retry_after, anyio.current_time()) == (30.0, 0.0)
            with anyio.move_on_after(1) as scope:
                await by_call(breaker, 40)
            assert (scope.cancelled_caught, anyio.current_time()) == (True, 1.0)
            with deadline(29.1):
                await by_call(breaker, 40)
            assert anyio.current_time() == 30.0

    @every_wait
    async def test_a_recovery_that_fails(self, wait: Any) -> None:
        """Ends the waits of those for whom the next one comes too late, and only of those."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await opened(supervisor)
            ended: list[tuple[float, bool]] = []

            async def caller(seconds: float) -> None:
                with deadline(seconds):
                    refused = False
                    try:
                        await wait(breaker, 1000)
                    except CircuitBreakerOpenError:
                        refused = True
                    ended.append((anyio.current_time(), refused))

            tasks.start_soon(wait_and_fail, breaker)
            await settle_down()
            for seconds in (50, 70, 1000):
                tasks.start_soon(caller, seconds)
        assert ended == [(30.0, True), (60.0, False), (60.0, False)]

    @every_wait
    @pytest.mark.parametrize("state", ["half_open", "forced_open"])
    async def test_what_nobody_knows_the_end_of(self, wait: Any, state: str) -> None:
        """Is waited for as long as the caller may: a probe's verdict, a circuit opened by hand."""
        async with half_open() as breaker:
            began = anyio.current_time()
            permit = await breaker.acquire()
            if state == "forced_open":
                breaker.force_open()
            with pytest.raises(TimeoutError), deadline(5):
                await wait(breaker, 40)
            assert anyio.current_time() - began == 5
            permit.ignore()

    @every_wait
    async def test_whoever_has_been_cancelled(self, wait: Any) -> None:
        """Is not refused."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            with deadline(1) as scope:
                scope.cancel()
                await wait(breaker, 40)
            assert scope.cancelled_caught
            assert left_behind(breaker) == (0, 0)

    async def test_a_throttle_is_not_waited_for(self) -> None:
        """Nobody knows how long that would take; nor is it any use to wait for a budget."""
        breaker = CircuitBreaker("x", 10**6, throttle=1.01, throttle_floor=1e-9)
        await fail_times(breaker, 1)
        with suppress(Down, CircuitBreakerOpenError):
            for _ in range(1000):
                await breaker.call(fail)
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            for _ in range(1000):
                await breaker.waiting(60).call(succeed)
        assert (refusal.value.reason, anyio.current_time()) == ("throttled", 0.0)


class TestProbes:
    """Places for probes, and a verdict by a share of them."""

    @pytest.mark.parametrize(
        ("outcomes", "state"),
        [("ffs", "open"), ("sfs", "half_open"), ("sss", "closed"), ("fsf", "open")],
    )
    async def test_a_share_of_them(self, outcomes: str, state: str) -> None:
        """As soon as it is certain; those who wait get the places of those that count nothing."""
        async with half_open(probes=4, probe_failure_rate=0.5, recovery_timeout=10) as breaker:
            permits = [await breaker.acquire(wait=1) for _ in range(4)]
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.acquire()
            permits.pop().ignore()
            permits.append(await breaker.acquire(wait=1))
            for outcome, permit in zip(outcomes, permits, strict=False):
                if breaker.state is CircuitState.HALF_OPEN:
                    (permit.succeed if outcome == "s" else permit.fail)()
            assert breaker.state == state
            for permit in permits:
                if not permit.settled:
                    permit.ignore()

    async def test_no_verdict_in_time(self) -> None:
        """It opens again, so many seconds after its first probe began."""
        async with half_open(half_open_timeout=15, success_threshold=2) as breaker:
            await anyio.sleep(100)
            permit = await breaker.acquire()
            await breaker.call(succeed)
            await anyio.sleep(14)
            assert breaker.state is CircuitState.HALF_OPEN
            await anyio.sleep(1)
            now = breaker.statistics()
            assert (now.state, now.last_failure) == ("open", "no verdict within 15 s")
            permit.succeed()
            assert breaker.statistics().stale == 1


class TestOrder:
    """Who came first is admitted first."""

    async def test_a_thousand_as_probes(self) -> None:
        """One by one, each as soon as the one before has ended."""
        async with half_open(success_threshold=1000, probes=1, probe_timeout=1e6) as breaker:
            came: list[int] = []
            admitted: list[int] = []
            dependency = Dependency()
            dependency.let_go()

            async def caller(number: int) -> None:
                came.append(number)
                with await breaker.acquire(wait=1e6):
                    admitted.append(number)
                    await anyio.sleep(number % 3)
                    await dependency.call()

            async with anyio.create_task_group() as tasks:
                for number in range(1000):
                    tasks.start_soon(caller, number)
                    if number % 7 == 0:
                        await anyio.lowlevel.checkpoint()
            assert admitted == came
            assert dependency.most_running == 1
            assert (breaker.state, left_behind(breaker)) == ("closed", (0, 0))

    @pytest.mark.parametrize("how", ["a probe", "reset"])
    async def test_a_thousand_when_it_closes(self, how: str) -> None:
        """All at once, in the order in which they came."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await opened(supervisor)
            came: list[int] = []
            admitted: list[int] = []

            async def caller(number: int) -> None:
                came.append(number)
                with await breaker.acquire(wait=60):
                    admitted.append(number)

            for number in range(1000):
                tasks.start_soon(caller, number)
            await anyio.sleep(1)
            assert left_behind(breaker) == (1000, 1000)
            if how == "reset":
                breaker.reset()
            else:
                await anyio.sleep(29)
            await settle_down()
            if on_trio():  # which lets those who may go on do so in any order
                assert admitted[0] == came[0] or how == "reset"
                admitted.sort()
                came.sort()
            assert admitted == came
            assert (len(came), left_behind(breaker)) == (1000, (0, 0))

    async def test_nobody_overtakes_them(self) -> None:
        """A place that is free is theirs, and not that of who comes just then."""
        async with half_open() as breaker, anyio.create_task_group() as tasks:
            probe = await breaker.acquire()
            got: list[Permit] = []

            async def caller() -> None:
                got.append(await breaker.acquire(wait=60))

            tasks.start_soon(caller)
            await anyio.sleep(1)
            probe.ignore()
            assert await is_refused(breaker)
            await settle_down()
            assert len(got) == 1
            got[0].succeed()


class TestDeadlines:
    """Each who waits has one of its own."""

    @every_wait
    async def test_the_refusal_is_that_of_the_moment(self, wait: Any) -> None:
        """With the time that is left, and the last failure, as of the deadline."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await wait(breaker, 12)
            refusal = caught.value
            assert (anyio.current_time(), refusal.retry_after) == (12.0, 18.0)
            assert (refusal.state, refusal.last_failure) == ("open", "Down")
            now = breaker.statistics()
            assert (now.rejected, left_behind(breaker)) == (1, (0, 0))

    @every_wait
    async def test_a_change_at_that_very_time_comes_first(self, wait: Any) -> None:
        """A wait of just the recovery timeout is long enough."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            await wait(breaker, 30)
            assert breaker.state is CircuitState.CLOSED

    @every_wait
    async def test_several_changes_at_that_very_time_come_first(self, wait: Any) -> None:
        """The last answer is that of the circuit after all of them, not in between."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor, probes=2, probe_failure_rate=1, probe_timeout=5)
            await anyio.sleep(30)
            permits = [await breaker.acquire() for _ in range(2)]
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await wait(breaker, 5)
            refusal = caught.value
            assert (anyio.current_time(), breaker.state) == (35.0, "open")
            assert (refusal.state, refusal.reason, refusal.retry_after) == ("open", "open", 30.0)
            for permit in permits:
                permit.ignore()

    async def test_a_thousand(self) -> None:
        """Everybody is refused at the end of its own time, whoever came first."""
        refused: list[tuple[float, float]] = []

        async def caller(wait: float) -> None:
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.acquire(wait=wait)
            refused.append((wait, anyio.current_time()))

        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            breaker.force_open()
            waits = [float(1 + number * 389 % 1000) for number in range(1000)]
            async with anyio.create_task_group() as tasks:
                for wait in waits:
                    tasks.start_soon(caller, wait)
            assert refused == [(wait, wait) for wait in sorted(waits)]
            assert (breaker.statistics().rejected, left_behind(breaker)) == (1000, (0, 0))

    async def test_a_blocked_event_loop(self) -> None:
        """Who should have been refused meanwhile is, though the circuit has closed since."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await opened(supervisor)
            ended: list[str] = []

            async def caller(wait: float) -> None:
                try:
                    with await breaker.acquire(wait=wait):
                        ended.append("admitted")
                except CircuitBreakerOpenError as refusal:
                    ended.append(f"{refusal.state.value} {refusal.retry_after:g}")

            for wait in (10, 40):
                tasks.start_soon(caller, wait)
            await settle_down()
            jump(60)
            await settle_down()
            assert sorted(ended) == ["admitted", "open 0"]

    async def test_a_probe_that_hangs(self) -> None:
        """Those behind it are not held for longer than it."""
        async with half_open(probe_timeout=20) as breaker, anyio.create_task_group() as tasks:
            hung = await breaker.acquire()
            tasks.start_soon(by_call, breaker, 60)
            await anyio.sleep(49)
            assert left_behind(breaker) == (1, 2)
            await anyio.sleep(1)
            await settle_down()
            assert (breaker.state, left_behind(breaker)) == ("closed", (0, 1))
            hung.succeed()

    @pytest.mark.parametrize("wait", [0, -1, float("nan"), float("inf")])
    async def test_bad_ones(self, wait: float) -> None:
        """They are refused where they are given."""
        breaker = CircuitBreaker("x")
        with pytest.raises(ValueError, match="wait must be more than 0 and finite"):
            breaker.waiting(wait)
        with pytest.raises(ValueError, match="wait must be more than 0 and finite"):
            await breaker.acquire(wait=wait)
        assert breaker.statistics().started == 0

    async def test_what_is_none(self) -> None:
        """Neither is a text or a truth a number of seconds, nor any word something to wait for."""
        breaker = CircuitBreaker("x")
        for wait in ("5", True):
            with pytest.raises(TypeError, match="wait must be a number of seconds"):
                breaker.waiting(wait)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="wait must be a number of seconds"):
                await breaker.acquire(wait=wait)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="wait must be a number of seconds, got None"):
            breaker.waiting(None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="wait_for must be one of closed, verdict; got 'x'"):
            breaker.waiting(5, "x")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="wait_for must be one of closed, verdict; got 'x'"):
            await breaker.acquire(wait=5, wait_for="x")  # type: ignore[arg-type]


class TestVerdict:
    """`wait_for="verdict"`: only while probes run."""

    @every_wait
    async def test_an_open_circuit_refuses_at_once(self, wait: Any) -> None:
        """There is no verdict to wait for."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            with pytest.raises(CircuitBreakerOpenError):
                await wait(breaker, 60, "verdict")
            assert (anyio.current_time(), left_behind(breaker)) == (0.0, (0, 0))

    @every_wait
    @pytest.mark.parametrize("succeeds", [True, False])
    async def test_the_verdict(self, wait: Any, succeeds: bool) -> None:
        """Success admits everybody who waits for it; failure refuses them at once."""
        async with half_open() as breaker:
            probe = await breaker.acquire()
            ended: list[str] = []

            async def caller() -> None:
                try:
                    await wait(breaker, 60, "verdict")
                    ended.append("admitted")
                except CircuitBreakerOpenError as refusal:
                    ended.append(f"refused for {refusal.retry_after:g} s")

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(caller)
                await anyio.sleep(5)
                assert left_behind(breaker) == (3, 4)
                if succeeds:
                    probe.succeed()
                else:
                    probe.fail()
            assert anyio.current_time() == 35.0
            assert ended == ["admitted" if succeeds else "refused for 30 s"] * 3

    async def test_those_who_wait_on(self) -> None:
        """A failure refuses nobody who waits for the circuit to close."""
        async with half_open() as breaker, anyio.create_task_group() as tasks:
            probe = await breaker.acquire()
            for wait_for in ("closed", "verdict", "closed", "verdict"):
                tasks.start_soon(_ignoring_refusal, breaker, wait_for)
            await anyio.sleep(5)
            probe.fail()
            await settle_down()
            assert (breaker.statistics().rejected, left_behind(breaker)) == (2, (2, 2))
            await anyio.sleep(30)
            await settle_down()
            assert (breaker.statistics().succeeded, left_behind(breaker)) == (2, (0, 0))


async def _ignoring_refusal(breaker: CircuitBreaker, wait_for: Any) -> None:
    with suppress(CircuitBreakerOpenError):
        await breaker.waiting(60, wait_for).call(succeed)


class TestCancellation:
    """Who is cancelled while waiting leaves nothing behind."""

    @every_wait
    async def test_before_admission(self, wait: Any) -> None:
        """It counts as cancelled, and the next in order is not held up."""
        async with half_open() as breaker, anyio.create_task_group() as tasks:
            probe = await breaker.acquire()
            with anyio.move_on_after(5) as scope:
                await wait(breaker, 60)
            assert scope.cancelled_caught
            assert left_behind(breaker) == (0, 1)
            tasks.start_soon(wait, breaker, 60)
            await settle_down()
            probe.ignore()
            await settle_down()
            now = breaker.statistics()
            assert (now.state, now.cancelled, now.in_flight) == ("closed", 1, 0)

    @every_wait
    @pytest.mark.parametrize("ticks", range(8))
    async def test_at_every_tick_of_its_admission(self, wait: Any, ticks: int) -> None:
        """Before, while and after it is granted a place: the place goes to the next."""
        async with half_open() as breaker:
            probe = await breaker.acquire()
            dependency = Dependency()
            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()

                async def caller() -> None:
                    with scope:
                        with await breaker.acquire(wait=60):
                            await dependency.call()

                tasks.start_soon(caller)
                await settle_down()
                tasks.start_soon(wait, breaker, 60)
                await settle_down()
                probe.ignore()
                for _ in range(ticks):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
                await settle_down()
                assert (breaker.state, left_behind(breaker)) == ("closed", (0, 0))
            now = breaker.statistics()
            assert (now.cancelled, now.succeeded) == (1, 1)

    async def test_a_herd(self) -> None:
        """Whoever is cancelled whenever: everybody else gets an answer, and it all adds up."""
        draw = random.Random(11)
        before = tasks_here()
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit(
                "x", failure_threshold=1, recovery_timeout=2, success_threshold=2
            )
            ended: Counter[str] = Counter()

            async def caller() -> None:
                await anyio.sleep(draw.random() * 20)
                with anyio.move_on_after(draw.choice([0, 0.5, 2, 9])) as scope:
                    try:
                        with await breaker.acquire(
                            wait=draw.choice([0.5, 2, 9]),
                            wait_for=draw.choice(["closed", "verdict"]),
                        ):
                            await anyio.sleep(draw.choice([0, 0.1]))
                            if draw.random() < 0.3:
                                raise Down
                        ended["succeeded"] += 1
                    except Down:
                        ended["failed"] += 1
                    except CircuitBreakerOpenError:
                        ended["rejected"] += 1
                ended["cancelled"] += scope.cancelled_caught

            async with anyio.create_task_group() as tasks:
                for _ in range(1000):
                    tasks.start_soon(caller)
            now = breaker.statistics()
            assert now.waiting == now.in_flight == 0
            assert {name: getattr(now, name) for name in ended} == ended
            assert len(ended) == 4
            assert now.times_opened > 3
        assert tasks_here() == before


class TestEnds:
    """What becomes of those who wait when their circuit does."""

    @pytest.mark.parametrize("how", ["stop", "leave"])
    async def test_stopped(self, how: str) -> None:
        """They are told so, and wait no longer."""
        told: list[str] = []

        async def caller() -> None:
            with pytest.raises(CircuitStoppedError, match="'x' has been stopped"):
                await breaker.acquire(wait=60)
            told.append("stopped")

        async with anyio.create_task_group() as tasks:
            async with Supervisor() as supervisor:
                breaker = await opened(supervisor)
                for _ in range(100):
                    tasks.start_soon(caller)
                await anyio.sleep(1)
                if how == "stop":
                    supervisor.stop("x")
                    await settle_down()
                    assert told == ["stopped"] * 100
            await settle_down()
            assert (told, anyio.current_time()) == (["stopped"] * 100, 1.0)
        now = breaker.statistics()
        assert (now.waiting, now.in_flight, now.rejected) == (0, 0, 100)

    @every_wait
    async def test_a_crash(self, wait: Any) -> None:
        """They wait on, in their order, at the actor that is started again."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await opened(supervisor)
            for _ in range(10):
                tasks.start_soon(wait, breaker, 60)
            await anyio.sleep(1)
            crash(supervisor, "x")
            await settle_down()
            now = breaker.statistics()
            assert (now.restarts, left_behind(breaker)) == (1, (10, 10))
            await anyio.sleep(29)
            await settle_down()
            assert (anyio.current_time(), breaker.state) == (30.0, "closed")
            assert left_behind(breaker) == (0, 0)

    @pytest.mark.parametrize(
        ("verdict", "outcome"), [("allow", "admitted"), ("refuse", "refused for inf s")]
    )
    async def test_given_up(self, verdict: GivenUp, outcome: str) -> None:
        """They pass unguarded, or are refused for good, like everybody else from then on."""
        ended: list[str] = []

        async def caller() -> None:
            try:
                with await breaker.acquire(wait=60):
                    ended.append("admitted")
            except CircuitBreakerOpenError as refusal:
                ended.append(f"refused for {refusal.retry_after:g} s")

        async with Supervisor(max_restarts=0, on_give_up=verdict) as supervisor:
            breaker = await opened(supervisor)
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(caller)
                await anyio.sleep(1)
                crash(supervisor, "x")
            assert ended == [outcome] * 10
            await caller()
            assert (ended, anyio.current_time()) == ([outcome] * 11, 1.0)
            assert left_behind(breaker) == (0, 0)

    async def test_given_up_and_escalated(self) -> None:
        """They are told that the circuit has been stopped, and the block ends."""
        told: list[str] = []

        async def caller() -> None:
            with pytest.raises(CircuitStoppedError):
                await breaker.acquire(wait=60)
            told.append("stopped")

        async with anyio.create_task_group() as tasks:
            with pytest.raises(RuntimeError, match="crashed more than 0"):
                async with Supervisor(max_restarts=0) as supervisor:
                    breaker = await opened(supervisor)
                    tasks.start_soon(caller)
                    await anyio.sleep(1)
                    crash(supervisor, "x")
                    await anyio.sleep_forever()
        assert told == ["stopped"]

    async def test_another_policy(self) -> None:
        """More places for probes are theirs at once."""
        async with half_open(success_threshold=9, probes=1) as breaker:
            async with anyio.create_task_group() as tasks:
                dependency = Dependency()
                for _ in range(5):
                    tasks.start_soon(breaker.waiting(60).call, dependency.call)
                await anyio.sleep(1)
                assert dependency.running == 1
                breaker.reconfigure(probes=3)
                await settle_down()
                assert (dependency.running, breaker.statistics().waiting) == (3, 2)
                dependency.let_go()


class TestTheBreaker:
    """`breaker.waiting(...)`."""

    async def test_the_decorated_function_stays_what_it_was(self) -> None:
        """Its name, its arguments and its result, also arguments called like the guard's."""

        @CircuitBreaker("x").waiting(5)
        async def function(x: int, *, fallback: str, wait: str) -> str:
            """What it does."""
            return fallback * x + wait

        assert function.__name__ == "function"
        assert function.__doc__ == "What it does."
        assert await function(2, fallback="a", wait="b") == "aab"

    def test_only_async_functions(self) -> None:
        """Anything else is refused when it is decorated."""
        with pytest.raises(TypeError, match=r"^a circuit breaker needs an async function"):
            CircuitBreaker("x").waiting(5)(lambda: 1)  # type: ignore[arg-type, return-value]

    async def test_fallback(self) -> None:
        """It stands in once the wait has been in vain, or the call fails."""
        async with Supervisor() as supervisor:
            breaker = await opened(supervisor)
            answer = await breaker.waiting(5).call(succeed, fallback=str)
            assert "is open; retry after 25.0 s" in answer
            assert anyio.current_time() == 5.0
            assert await breaker.waiting(60).call(fail, fallback="instead") == "instead"
            assert (anyio.current_time(), breaker.state) == (30.0, "open")

    async def test_it_joins_like_its_breaker(self) -> None:
        """It may be made before anything runs, and serves supervisor after supervisor."""
        breaker = CircuitBreaker("x", 1)
        waiting = breaker.waiting(60)
        for _ in range(2):
            async with Supervisor():
                assert await waiting.call(succeed) == "fine"
                assert breaker.statistics().succeeded == 1

    async def test_a_permit_that_was_waited_for(self) -> None:
        """It is settled like any other."""
        async with half_open() as breaker:
            permit = await breaker.acquire(wait=5, wait_for="verdict")
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await breaker.acquire(wait=5, wait_for="verdict")
            assert refusal.value.reason == "half_open"
            permit.fail()
            assert breaker.state is CircuitState.OPEN
