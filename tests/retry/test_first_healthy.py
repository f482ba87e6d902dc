"""A call that goes to the first of several circuits that admits it."""

from __future__ import annotations

import contextlib
import gc
import math
import pickle
import random
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    FirstHealthy,
    IncompleteStreamError,
    NoneHealthyError,
    Supervisor,
    deadline,
)
from tests.support.worlds import Dependency, collect_garbage, fail_times, settle_down

pytestmark = pytest.mark.anyio


class Models:
    """Some models, of which some are down; they say who was asked."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.asked: list[str] = []

    async def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Answer with what was asked, or be down."""
        self.asked.append(name)
        if name in self.errors:
            raise self.errors[name]
        return name, args, kwargs


DOWN = ConnectionError("down")


class TestOrder:
    """Who is asked."""

    async def test_the_first(self) -> None:
        """If it is well, nobody else is."""
        models = Models()
        async with Supervisor() as supervisor:
            answer = await FirstHealthy("a", "b").call(models.ask, 1, two=2)
            assert answer == ("a", (1,), {"two": 2})
            assert list(supervisor) == ["a"]

    async def test_the_next_after_a_refusal(self) -> None:
        """The first is not called."""
        models = Models()
        async with Supervisor() as supervisor:
            supervisor.circuit("a").force_open()
            assert (await FirstHealthy("a", "b").call(models.ask))[0] == "b"
            assert models.asked == ["b"]

    async def test_the_next_after_a_failure(self) -> None:
        """Each call counts by its own circuit."""
        models = Models(a=DOWN, b=TimeoutError())
        async with Supervisor() as supervisor:
            assert (await FirstHealthy("a", "b", "c").call(models.ask))[0] == "c"
            assert models.asked == ["a", "b", "c"]
            counts = [(each.failed, each.succeeded) for each in supervisor.statistics().values()]
            assert counts == [(1, 0), (1, 0), (0, 1)]

    async def test_an_outage_is_learned(self) -> None:
        """Whoever is known to be down is not asked in every call."""
        models = Models(a=DOWN)
        async with Supervisor() as supervisor:
            group = FirstHealthy(supervisor.circuit("a", failure_threshold=3), "b")
            for _ in range(10):
                assert (await group.call(models.ask))[0] == "b"
            assert Counter(models.asked) == {"a": 3, "b": 10}

    async def test_an_error_of_the_caller(self) -> None:
        """Would be the same with the next one."""
        models = Models(a=ValueError("bad prompt"))
        async with Supervisor():
            with pytest.raises(ValueError, match="bad prompt"):
                await FirstHealthy("a", "b").call(models.ask)
            assert models.asked == ["a"]

    @pytest.mark.parametrize(
        "move_on", [KeyError, lambda error: error.args == ("odd",), [KeyError]]
    )
    async def test_other_reasons_to_move_on(self, move_on: Any) -> None:
        """Take the place of the usual ones."""
        async with Supervisor():
            group = FirstHealthy("a", "b", move_on=move_on)
            assert (await group.call(Models(a=KeyError("odd")).ask))[0] == "b"
            with pytest.raises(ConnectionError):
                await group.call(Models(a=DOWN).ask)

    async def test_a_refusal_of_a_circuit_inside(self) -> None:
        """Is an error of the call, like others."""
        inside = CircuitBreakerOpenError("inside", 5.0)
        async with Supervisor():
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await FirstHealthy("a", "b").call(Models(a=inside).ask)
            assert caught.value is inside

    async def test_weights(self) -> None:
        """Each comes first in its share of the calls, and the others stand in for it."""
        random.seed(7)
        models = Models()
        async with Supervisor() as supervisor:
            group = FirstHealthy({"a": 3, "b": 1, "c": 0.001})
            for _ in range(2000):
                await group.call(models.ask)
            shares = Counter(models.asked)
            assert shares["a"] / 2000 == pytest.approx(0.75, abs=0.03)
            assert shares["b"] / 2000 == pytest.approx(0.25, abs=0.03)
            supervisor["a"].force_open()
            supervisor["b"].force_open()
            assert (await group.call(models.ask))[0] == "c"

    @pytest.mark.parametrize("scale", [1e-300, 1e-5, 1e-3, 1e17, 1e300])
    async def test_weights_of_any_size(self, scale: float) -> None:
        """It is their proportion that counts."""
        random.seed(7)
        models = Models()
        async with Supervisor():
            group = FirstHealthy({"a": scale, "b": 3 * scale})
            for _ in range(1000):
                await group.call(models.ask)
        assert Counter(models.asked)["a"] / 1000 == pytest.approx(0.25, abs=0.05)


class TestNobody:
    """When there is nobody left."""

    async def test_what_is_told(self) -> None:
        """Why each was passed over; the last failure is the cause."""
        async with Supervisor() as supervisor:
            first = supervisor.circuit("a", failure_threshold=1, recovery_timeout=7)
            await fail_times(first, 1)
            supervisor.circuit("c").force_open()
            with pytest.raises(NoneHealthyError) as caught:
                await FirstHealthy("a", "b", "c").call(Models(b=DOWN).ask)
            error = caught.value
            assert list(error.passed_over) == ["a", "b", "c"]
            assert error.passed_over["b"] is error.__cause__ is DOWN
            assert error.retry_after == pytest.approx(7)
            assert str(error) == (
                "none of 3 circuits could be called (a: CircuitBreakerOpenError: circuit 'a' is"
                " open; retry after 7.0 s (last failure: Down); b: ConnectionError: down; c:"
                " CircuitBreakerOpenError: circuit 'c' was opened by hand and refuses every call"
                " until it is released)"
            )
            again = pickle.loads(pickle.dumps(error))
            assert str(again) == str(error)

    async def test_all_have_refused(self) -> None:
        """The last refusal is the cause; the time is that of the first to come back."""
        async with Supervisor() as supervisor:
            for name, seconds in (("a", 9), ("b", 5)):
                breaker = supervisor.circuit(name, failure_threshold=1, recovery_timeout=seconds)
                await fail_times(breaker, 1)
            with pytest.raises(NoneHealthyError) as caught:
                await FirstHealthy("a", "b").call(Models().ask)
            assert caught.value.retry_after == pytest.approx(5)
            assert caught.value.__cause__ is caught.value.passed_over["b"]

    async def test_all_have_failed(self) -> None:
        """Nobody knows when one will be well."""
        async with Supervisor():
            with pytest.raises(NoneHealthyError) as caught:
                await FirstHealthy("a", "b", wait=60).call(Models(a=DOWN, b=DOWN).ask)
            assert caught.value.retry_after == math.inf
            assert anyio.current_time() == 0


async def outage(supervisor: Supervisor, **seconds: float) -> None:
    """Let circuits be open for so long."""
    for name, recovery_timeout in seconds.items():
        breaker = supervisor.circuit(name, failure_threshold=1, recovery_timeout=recovery_timeout)
        await fail_times(breaker, 1)
    await settle_down()


class TestWaiting:
    """`wait`."""

    async def test_until_the_first_comes_back(self) -> None:
        """Whichever that is."""
        async with Supervisor() as supervisor:
            await outage(supervisor, a=9, b=5)
            assert (await FirstHealthy("a", "b", wait=60).call(Models().ask))[0] == "b"
            assert anyio.current_time() == pytest.approx(5, abs=0.01)

    async def test_the_order_stays(self) -> None:
        """Of several that are back, the first is asked."""
        async with Supervisor() as supervisor:
            await outage(supervisor, a=5, b=5)
            assert (await FirstHealthy("a", "b", wait=60).call(Models().ask))[0] == "a"

    async def test_no_longer_than_that(self) -> None:
        """If none can be back in time, it is told at once."""
        async with Supervisor() as supervisor:
            await outage(supervisor, a=9, b=5)
            with pytest.raises(NoneHealthyError):
                await FirstHealthy("a", "b", wait=4).call(Models().ask)
            assert anyio.current_time() == 0

    async def test_who_fails_when_it_is_back(self) -> None:
        """Is passed over, and the next one waited for."""
        models = Models(b=DOWN)
        async with Supervisor() as supervisor:
            await outage(supervisor, a=9, b=5)
            assert (await FirstHealthy("a", "b", wait=60).call(models.ask))[0] == "a"
            assert models.asked == ["b", "a"]
            assert anyio.current_time() == pytest.approx(9, abs=0.01)

    @pytest.mark.parametrize("verdict", ["succeeds", "fails"])
    async def test_for_the_verdict_of_a_probe(self, verdict: str) -> None:
        """Of another caller: then the circuit is closed, or open for as long again."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            await outage(supervisor, a=5)
            await anyio.sleep(5)
            probe = await supervisor["a"].acquire()
            answers = []

            async def ask() -> None:
                answers.append(await FirstHealthy("a", wait=60).call(Models().ask))

            tasks.start_soon(ask)
            await anyio.sleep(2)
            probe.succeed() if verdict == "succeeds" else probe.fail()
            await settle_down()
            assert len(answers) == (verdict == "succeeds")
            await anyio.sleep(5.1)
            assert len(answers) == 1

    async def test_no_verdict_comes(self) -> None:
        """Another circuit is asked when it is due meanwhile."""
        async with Supervisor() as supervisor:
            await outage(supervisor, a=5, b=9)
            await anyio.sleep(5)
            probe = await supervisor["a"].acquire()
            assert (await FirstHealthy("a", "b", wait=60).call(Models().ask))[0] == "b"
            assert anyio.current_time() == pytest.approx(9, abs=0.01)
            with pytest.raises(NoneHealthyError) as caught:
                await FirstHealthy("a", wait=3).call(Models().ask)
            assert anyio.current_time() == pytest.approx(12, abs=0.01)
            assert caught.value.retry_after == 0
            probe.ignore()

    async def test_what_no_time_ends(self) -> None:
        """A circuit that was opened by hand is not waited for."""
        async with Supervisor() as supervisor:
            supervisor.circuit("a").force_open()
            with pytest.raises(NoneHealthyError):
                await FirstHealthy("a", wait=60).call(Models().ask)
            assert anyio.current_time() == 0

    async def test_for_a_ramp(self) -> None:
        """Whoever is refused his share waits for it."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit(
                "a", failure_threshold=1, recovery_timeout=5, ramp=100, ramp_start=1e-9
            )
            await fail_times(breaker, 1)
            await anyio.sleep(5)
            await breaker.call(Models().ask, "probe")
            assert breaker.state is CircuitState.CLOSED
            assert (await FirstHealthy("a", wait=200).call(Models().ask))[0] == "a"
            assert 5 < anyio.current_time() <= 106


class Streams:
    """Models that answer in parts: some break before the first one, some after it."""

    def __init__(self, **break_after: int) -> None:
        self.break_after = break_after
        self.asked: list[str] = []
        self.closed: list[str] = []

    async def ask(self, name: str, *parts: str) -> AsyncIterator[str]:
        """Answer with the parts."""
        self.asked.append(name)
        try:
            for number, part in enumerate((*parts, None)):
                if self.break_after.get(name) == number:
                    raise ConnectionError("down")
                if part is not None:
                    yield f"{name} {part}"
        finally:
            self.closed.append(name)


class TestStreams:
    """Answers that come in parts."""

    async def test_the_first(self) -> None:
        """Each is one call, from the question to its last item."""
        models = Streams()
        async with Supervisor() as supervisor:
            async with FirstHealthy("a", "b").stream(models.ask, "x", "y") as items:
                assert supervisor["a"].statistics().in_flight == 1
                assert [item async for item in items] == ["a x", "a y"]
            assert models.asked == models.closed == ["a"]
            assert list(supervisor) == ["a"]
            assert supervisor["a"].statistics().succeeded == 1

    async def test_without_an_item(self) -> None:
        """It is a success all the same."""
        async with Supervisor() as supervisor:
            async with FirstHealthy("a", "b").stream(Streams().ask) as items:
                assert [item async for item in items] == []
            assert supervisor["a"].statistics().succeeded == 1

    async def test_the_next(self) -> None:
        """After a refusal, and after a failure before the first item."""
        models = Streams(b=0)
        async with Supervisor() as supervisor:
            supervisor.circuit("a").force_open()
            async with FirstHealthy("a", "b", "c").stream(models.ask, "x") as items:
                assert models.closed == ["b"]
                assert [item async for item in items] == ["c x"]
            assert models.asked == ["b", "c"]
            assert supervisor["b"].statistics().failed == 1

    async def test_a_failure_later(self) -> None:
        """Is raised, and counts: nobody else goes on with half an answer."""
        models = Streams(a=1)
        async with Supervisor() as supervisor:
            with pytest.raises(ConnectionError):
                async with FirstHealthy("a", "b").stream(models.ask, "x", "y") as items:
                    async for item in items:
                        assert item == "a x"
            assert models.asked == models.closed == ["a"]
            assert supervisor["a"].statistics().failed == 1

    async def test_nobody(self) -> None:
        """Why each was passed over is told when the block is entered."""
        async with Supervisor():
            with pytest.raises(NoneHealthyError) as caught:
                async with FirstHealthy("a", "b").stream(Streams(a=0, b=0).ask, "x"):
                    raise AssertionError
            assert list(caught.value.passed_over) == ["a", "b"]

    async def test_whoever_leaves_early(self) -> None:
        """Closes it, and what they raise comes out."""
        models = Streams()
        async with Supervisor() as supervisor:
            with pytest.raises(KeyError):
                async with FirstHealthy("a").stream(models.ask, "x", "y"):
                    raise KeyError
            assert models.closed == ["a"]
            assert supervisor["a"].statistics().succeeded == 1

    async def test_options(self) -> None:
        """Are those of a breaker's streams; what is no stream is told."""
        complete = "x".__eq__
        async with Supervisor() as supervisor:
            with pytest.raises(IncompleteStreamError):
                async with FirstHealthy("a").stream(Streams().ask, "y", complete=complete) as items:
                    async for _ in items:
                        pass
            with pytest.raises(ValueError, match="verdict must be one of"):
                await FirstHealthy("a").stream(Streams().ask, verdict="?").__aenter__()  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="needs a function that opens a stream, got 1"):
                await FirstHealthy("a").stream(1).__aenter__()  # type: ignore[arg-type]
            probed = supervisor.circuit("b", failure_threshold=1, recovery_timeout=1)
            await fail_times(probed, 1)
            await anyio.sleep(1)
            options: dict[str, Any] = {"verdict": "first_item"}
            async with FirstHealthy("b").stream(Streams().ask, "x", "y", **options):
                await settle_down()
                assert probed.state is CircuitState.CLOSED

    async def test_cancelled_before_the_first_item(self) -> None:
        """It is closed, nothing counts, and nobody else is asked."""
        dependency = Dependency()

        async def hang(name: str) -> AsyncIterator[str]:
            await dependency.call()
            yield name

        async with Supervisor() as supervisor:
            with anyio.move_on_after(1) as scope:
                async with FirstHealthy("a", "b").stream(hang):
                    raise AssertionError
            assert scope.cancelled_caught
            assert list(supervisor) == ["a"]
            figures = supervisor["a"].statistics()
            assert (figures.cancelled, figures.in_flight) == (1, 0)


class TestCancellation:
    """A caller who is cancelled."""

    @pytest.mark.parametrize("wait", [None, 60])
    async def test_in_the_call(self, wait: float | None) -> None:
        """Nobody else is asked, and nothing counts."""
        dependency = Dependency()

        async def hang(name: str) -> None:
            assert name == "a"
            await dependency.call()

        async with Supervisor() as supervisor:
            with anyio.move_on_after(1) as scope:
                await FirstHealthy("a", "b", wait=wait).call(hang)
            assert scope.cancelled_caught
            assert list(supervisor) == ["a"]
            figures = supervisor["a"].statistics()
            assert (figures.cancelled, figures.in_flight) == (1, 0)

    @pytest.mark.parametrize("at", [2, 7])
    async def test_while_it_waits(self, at: float) -> None:
        """For the time, or for a probe's verdict."""
        async with Supervisor() as supervisor:
            await outage(supervisor, a=5)
            await anyio.lowlevel.checkpoint()
            probe = None
            if at > 5:
                await anyio.sleep(5)
                probe = await supervisor["a"].acquire()
            with anyio.CancelScope(deadline=at) as scope:
                await FirstHealthy("a", wait=60).call(Models().ask)
            assert scope.cancelled_caught
            assert anyio.current_time() == pytest.approx(at)
            assert supervisor["a"].statistics().waiting == 0
            if probe is not None:
                probe.ignore()

    @pytest.mark.parametrize("seconds", [4, 5])
    async def test_a_deadline_round_it_that_ends_before(self, seconds: float) -> None:
        """None can be back in time: that is told at once."""
        async with Supervisor() as supervisor:
            await outage(supervisor, a=5)
            with deadline(seconds), pytest.raises(NoneHealthyError):
                await FirstHealthy("a", wait=60).call(Models().ask)
            assert anyio.current_time() == 0

    async def test_nothing_is_kept(self) -> None:
        """Neither the errors of those passed over, nor their callers' locals."""

        class Big:
            pass

        async def ask(name: str, big: Big) -> None:
            del big
            raise ConnectionError(name)

        async with Supervisor():
            group = FirstHealthy("a", "b")
            collect_garbage()
            gc.disable()
            try:
                big = Big()
                kept = weakref.ref(big)
                with contextlib.suppress(NoneHealthyError):
                    await group.call(ask, big)
                del big
                assert kept() is None
            finally:
                gc.enable()


class TestArguments:
    """What it can be made of."""

    def test_members(self) -> None:
        """Names and breakers."""
        assert FirstHealthy("a", CircuitBreaker("b")).names == ("a", "b")
        assert FirstHealthy({CircuitBreaker("b"): 1, "a": 2.5}).names == ("b", "a")

    @pytest.mark.parametrize(
        ("arguments", "options", "error", "text"),
        [
            ((), {}, ValueError, "FirstHealthy needs one circuit at least"),
            (({},), {}, ValueError, "FirstHealthy needs one circuit at least"),
            ((1,), {}, TypeError, "FirstHealthy needs names of circuits, or breakers, got 1"),
            ((["a", "b"],), {}, TypeError, r"names of circuits, or breakers, got \['a', 'b'\]"),
            (("",), {}, ValueError, "1 to 255 printable characters"),
            (("a", "a"), {}, ValueError, "FirstHealthy has circuit 'a' twice"),
            (
                ({"a": 0},),
                {},
                ValueError,
                "the weight of 'a' must be more than 0 and finite, got 0",
            ),
            (({"a": math.nan},), {}, ValueError, "weight of 'a' must be more than 0 and finite"),
            (({"a": 10**400},), {}, ValueError, "weight of 'a' must be more than 0 and finite"),
            (({"a": "1"},), {}, TypeError, "the weight of 'a' must be a number, got '1'"),
            (("a",), {"wait": 0}, ValueError, "wait must be more than 0 and finite"),
            (("a",), {"wait": "1"}, TypeError, "wait must be a number of seconds"),
            (("a",), {"move_on": ()}, ValueError, "move_on must mean some errors"),
            (("a",), {"move_on": "x"}, TypeError, "move_on must be types of `Exception`"),
        ],
    )
    def test_bad_ones(
        self, arguments: Any, options: Any, error: type[Exception], text: str
    ) -> None:
        """Are errors at once."""
        with pytest.raises(error, match=text):
            FirstHealthy(*arguments, **options)

    async def test_what_is_no_async_function(self) -> None:
        """Is told before anybody is asked."""
        async with Supervisor() as supervisor:
            with pytest.raises(TypeError, match=r"FirstHealthy\.call needs an async function"):
                await FirstHealthy("a").call(len)  # type: ignore[arg-type]
            assert not supervisor
