"""Worker threads: plain functions guarded there, and a clear error for every wrong thread or loop.

All in real time: a virtual clock would jump to the next timer whenever the event loop waits for
a thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import anyio
import pytest
import trio
import uvloop
from anyio import NoEventLoopError, RunFinishedError, from_thread, to_thread

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitStoppedError,
    Permit,
    Statistics,
    Supervisor,
    clear_circuit_breaker_registry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    reset_all_circuit_breakers,
    retry_api_call,
    with_circuit_breaker,
)
from supervisor.circuit import actor, asking
from supervisor.circuit.record import Circuit
from supervisor.circuit.turn import take_turn_at_once
from supervisor.guard import threads
from supervisor.loop import EventLoop
from supervisor.loop.tasks import Tasks
from tests.support.seeds import Seeds
from tests.support.worlds import Down, fail_times, settle_down, succeed

Run = Callable[[Callable[[], Awaitable[Any]]], Any]
InThread = Callable[[Callable[[], object]], Awaitable[Any]]

SECONDS = 10
"""After which a test fails instead of hanging."""


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function in an event loop of its own, in real time."""
    backend = "trio" if request.param == "trio" else "asyncio"
    options = {"use_uvloop": True} if request.param == "uvloop" else {}

    async def in_time(main: Callable[[], Awaitable[Any]]) -> Any:
        with anyio.fail_after(SECONDS):
            return await main()

    return lambda main: anyio.run(in_time, main, backend=backend, backend_options=options)


async def in_own_thread(func: Callable[[], object]) -> Any:
    """Run `func` in a thread that the event loop knows nothing of."""
    outcome, thread = start(func)
    await until(lambda: not thread.is_alive())
    return outcome.result()


def start(func: Callable[[], object]) -> tuple[Future[Any], threading.Thread]:
    outcome: Future[Any] = Future()

    def work() -> None:
        try:
            outcome.set_result(func())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return outcome, thread


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something in a thread, and for what it has posted before."""
    while not happened():  # noqa: ASYNC110  (threads set no event of the event loop's)
        await anyio.sleep(0.001)
    await settle_down()


every_thread = pytest.mark.parametrize("in_thread", [to_thread.run_sync, in_own_thread])


def fine() -> str:
    return "fine"


def down() -> str:
    raise Down("down")


class Interrupt(BaseException):
    """Neither a success nor a failure."""


def adds_up(now: Statistics) -> bool:
    ended = now.succeeded + now.failed + now.ignored + now.cancelled + now.rejected
    return now.started == ended and now.in_flight == 0


async def half_open(supervisor: Supervisor, **policy: float) -> CircuitBreaker:
    """A circuit that has opened, in real time, and lets the permitted probes through."""
    breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=0.01, **policy)
    await fail_times(breaker, 1)
    await until(lambda: breaker.state == "half_open")
    return breaker


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> Actors:
    """Let actors answer nobody while they are held."""
    held = Actors()
    take_turn = actor.take_turn

    def take_no_turn(circuit: Circuit, emit: actor.Emit, now: float) -> None:
        if not held.held:
            take_turn(circuit, emit, now)
        elif circuit.mailbox.messages:
            held.asked.set()

    def take_none_at_once(circuit: Circuit, now: float) -> bool:
        return not held.held and take_turn_at_once(circuit, now)

    monkeypatch.setattr(actor, "take_turn", take_no_turn)
    monkeypatch.setattr(asking, "take_turn_at_once", take_none_at_once)
    monkeypatch.setattr(threads, "PATIENCE", 0.0001)  # so that a thread looks more than once
    return held


class Actors:
    """Whether actors are held, and whether somebody has asked one meanwhile."""

    def __init__(self) -> None:
        self.held = False
        self.asked = threading.Event()

    def let_go(self, breaker: CircuitBreaker) -> None:
        """Let the actor of that circuit take its turn."""
        self.held = False
        breaker._circuit.mailbox.ring()


# What a guarded call is


@every_thread
def test_a_plain_function_is_guarded_like_an_async_one(run: Run, in_thread: InThread) -> None:
    """Results and errors come through as they are, are counted at once, and open the circuit."""
    calls: list[tuple[int, int]] = []
    error = Down("down")

    def add(a: int, *, b: int) -> int:
        calls.append((a, b))
        if b < 0:
            raise error
        return a + b

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2)
            await breaker.call(succeed)
            assert await in_thread(lambda: breaker.call_from_thread(add, 1, b=2)) == 3
            for failures in (1, 2):
                with pytest.raises(Down) as caught:
                    await in_thread(lambda: breaker.call_from_thread(add, 1, b=-1))
                assert caught.value is error
                assert breaker.statistics().failed == failures
            assert breaker.state == "open"
            with pytest.raises(CircuitBreakerOpenError, match="Down"):
                await in_thread(lambda: breaker.call_from_thread(add, 1, b=2))
            now = breaker.statistics()
        assert calls == [(1, 2), (1, -1), (1, -1)]
        assert (now.succeeded, now.rejected, adds_up(now)) == (2, 1, True)

    run(main)


def test_a_thread_that_comes_back_sees_its_outcome(run: Run) -> None:
    """What a thread has reported is there when it reads through `from_thread`."""

    def work(breaker: CircuitBreaker) -> list[int]:
        seen = []
        for _ in range(20):
            with pytest.raises(Down):
                breaker.call_from_thread(down)
            seen.append(from_thread.run_sync(breaker.statistics).failed)
        return seen

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=100)
        assert await to_thread.run_sync(work, breaker) == list(range(1, 21))

    run(main)


def test_what_is_no_exception_counts_as_nothing(run: Run) -> None:
    """A `BaseException` comes through unchanged and is counted as cancelled."""

    def interrupted() -> None:
        raise Interrupt

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)

        def work() -> None:
            with pytest.raises(Interrupt):
                breaker.call_from_thread(interrupted)

        await to_thread.run_sync(work)
        now = breaker.statistics()
        assert (now.cancelled, now.failed, now.state, now.in_flight) == (1, 0, "closed", 0)

    run(main)


class Promise:
    """To be awaited, but no coroutine."""

    def __await__(self) -> Any:
        raise AssertionError("never awaited")


def test_what_is_to_be_awaited_is_refused(run: Run) -> None:
    """An async function is not admitted; one that only looks plain counts as ignored."""

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        for func in (succeed, lambda: succeed(), Promise):  # noqa: PLW0108
            with pytest.raises(TypeError, match=r"plain function.*breaker\.call"):
                await to_thread.run_sync(breaker.call_from_thread, func)
        now = breaker.statistics()
        assert (now.started, now.ignored, now.failed, now.in_flight) == (2, 2, 0, 0)

    run(main)


# Which event loop


def test_the_event_loops_own_thread_is_refused(run: Run) -> None:
    """It would wait for itself; the error names what to do. Nothing is called or counted."""

    async def main() -> None:
        breaker = CircuitBreaker("x")
        with pytest.raises(RuntimeError, match=r"to_thread\.run_sync\(breaker\.call_from_thread"):
            breaker.call_from_thread(pytest.fail)
        assert breaker.statistics().started == 0

    run(main)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_callback_of_the_event_loop_is_refused(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Also where no task runs."""

    async def main() -> None:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def callback() -> None:
            with pytest.raises(RuntimeError, match="would block"):
                breaker.call_from_thread(pytest.fail)
            answer.set_result(None)

        asyncio.get_running_loop().call_soon(callback)
        await answer

    breaker = CircuitBreaker("x")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_without_a_known_event_loop(run: Run) -> None:
    """A thread that nobody can know of, and a breaker that was never used, are told what to do."""
    breaker = CircuitBreaker("x")
    what_to_do = pytest.raises(RuntimeError, match=r"anyio\.to_thread\.run_sync, or use the")
    with what_to_do:
        breaker.call_from_thread(pytest.fail)

    async def main() -> None:
        with what_to_do:
            await in_own_thread(lambda: breaker.call_from_thread(pytest.fail))
        assert await to_thread.run_sync(breaker.call_from_thread, fine) == "fine"
        assert await in_own_thread(lambda: breaker.call_from_thread(fine)) == "fine"

    run(main)
    with pytest.raises(RuntimeError, match=r"no running event loop|has already finished"):
        breaker.call_from_thread(pytest.fail)


def test_threads_of_asyncios_own() -> None:
    """`asyncio.to_thread`, which copies the context, works for a breaker that is in use."""

    async def main() -> None:
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        assert await asyncio.to_thread(breaker.call_from_thread, fine) == "fine"
        assert breaker.statistics().succeeded == 2

    anyio.run(main)


def test_the_event_loop_that_started_the_thread_comes_first(run: Run) -> None:
    """A breaker in use on another event loop is guarded by the circuit of the thread's own loop."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def other() -> Statistics:
        with pytest.raises(Down):
            await to_thread.run_sync(breaker.call_from_thread, down)
        return breaker.statistics()

    async def main() -> None:
        await breaker.call(succeed)
        there = await in_own_thread(lambda: run(other))
        here = breaker.statistics()
        assert (there.failed, there.succeeded, there.state) == (1, 0, "open")
        assert (here.failed, here.succeeded, here.state) == (0, 1, "closed")

    run(main)


def test_a_portal_serves_a_program_without_an_event_loop() -> None:
    """The main thread can guard its calls by a circuit that lives in a portal."""
    breaker = CircuitBreaker("x")
    with from_thread.start_blocking_portal() as portal:
        portal.call(breaker.call, succeed)
        assert breaker.call_from_thread(fine) == "fine"
        assert portal.call(breaker.statistics).succeeded == 2


# Many at once


@every_thread
@pytest.mark.parametrize("probes", [1, 3])
def test_twenty_threads_in_half_open(run: Run, in_thread: InThread, probes: int) -> None:
    """Exactly the permitted number of probes runs; the others are refused meanwhile."""
    together = threading.Barrier(20, timeout=SECONDS)
    refused: list[CircuitBreakerOpenError] = []
    all_refused = threading.Event()
    called: list[str] = []

    def probe() -> None:
        called.append("probe")
        assert all_refused.wait(SECONDS)

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = await half_open(supervisor, success_threshold=probes)

            def work() -> None:
                together.wait()
                try:
                    breaker.call_from_thread(probe)
                except CircuitBreakerOpenError as error:
                    refused.append(error)
                    if len(refused) == 20 - probes:
                        all_refused.set()

            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(in_thread, work)
            now = breaker.statistics()
        assert called == ["probe"] * probes
        assert (now.state, now.rejected, adds_up(now)) == ("closed", 20 - probes, True)

    run(main)


def test_every_call_of_many_threads_is_counted(
    run: Run, seeds: Seeds, figures: Counter[str]
) -> None:
    """Threads and tasks, however they end, add up to what the circuit has counted."""

    async def main(luck: random.Random) -> None:
        done: Counter[str] = Counter()
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=3, recovery_timeout=0.0001)

            def work(seed: int) -> Counter[str]:
                chances = random.Random(seed)
                counted: Counter[str] = Counter()
                for _ in range(25):
                    func = down if chances.random() < 0.5 else fine
                    try:
                        breaker.call_from_thread(func)
                    except Down:
                        counted["failed"] += 1
                    except CircuitBreakerOpenError:
                        counted["rejected"] += 1
                    else:
                        counted["succeeded"] += 1
                return counted

            async def one(in_thread: InThread, seed: int) -> None:
                done.update(await in_thread(lambda: work(seed)))

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(one, to_thread.run_sync, luck.randrange(10**6))
                    tasks.start_soon(one, in_own_thread, luck.randrange(10**6))
            now = breaker.statistics()
        seen = {"failed": now.failed, "rejected": now.rejected, "succeeded": now.succeeded}
        assert seen == done
        assert (now.started, adds_up(now)) == (200, True)
        figures["guarded calls from threads"] += now.started

    for seed in seeds(1):
        run(partial(main, random.Random(seed)))


# Cancellation


@pytest.mark.parametrize("abandon", [True, False])
def test_cancelled_while_the_thread_waits_for_admission(
    run: Run, actors: Actors, abandon: bool
) -> None:
    """The function is not called, and its place as a probe is given back."""
    ended = threading.Event()

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = await half_open(supervisor)
            actors.held = True

            def work() -> None:
                try:
                    breaker.call_from_thread(pytest.fail)
                finally:
                    ended.set()

            async with anyio.create_task_group() as tasks:

                async def host() -> None:
                    await to_thread.run_sync(work, abandon_on_cancel=abandon)

                tasks.start_soon(host)
                await until(actors.asked.is_set)
                tasks.cancel_scope.cancel()
                actors.let_go(breaker)
            await until(ended.is_set)
            now = breaker.statistics()
            assert (now.cancelled, now.in_flight, now.state) == (1, 0, "half_open")
            assert await breaker.call(succeed) == "fine"

    run(main)


@pytest.mark.parametrize("abandon", [True, False])
@pytest.mark.parametrize("func", [fine, down])
def test_cancelled_while_the_function_runs(
    run: Run, abandon: bool, func: Callable[[], str]
) -> None:
    """The outcome is counted, whether or not anybody waits for it."""
    begun, cancelled, ended = threading.Event(), threading.Event(), threading.Event()

    def probe() -> str:
        begun.set()
        assert cancelled.wait(SECONDS)
        return func()

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = await half_open(supervisor)

            def work() -> None:
                try:
                    breaker.call_from_thread(probe)
                except Down:
                    pass
                finally:
                    ended.set()

            async with anyio.create_task_group() as tasks:

                async def host() -> None:
                    await to_thread.run_sync(work, abandon_on_cancel=abandon)

                tasks.start_soon(host)
                await until(begun.is_set)
                tasks.cancel_scope.cancel()
                cancelled.set()
            await until(ended.is_set)
            now = breaker.statistics()
            assert (now.succeeded, now.failed) == ((1, 1) if func is fine else (0, 2))
            assert now.in_flight == 0

    run(main)


@pytest.mark.parametrize("refused", [True, False])
def test_a_thread_that_is_interrupted_while_it_waits(
    run: Run, actors: Actors, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a main thread that waits: what is granted or refused after that harms nobody."""

    async def main() -> None:
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await half_open(supervisor)
            actors.held = True
            if refused:  # by a probe that comes before
                tasks.start_soon(breaker.call, succeed)
                await until(actors.asked.is_set)

            def interrupt(*_: object) -> None:
                while len(breaker._circuit.askers) <= refused:
                    time.sleep(0.001)
                raise KeyboardInterrupt

            monkeypatch.setattr(threads, "wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                await in_own_thread(lambda: breaker.call_from_thread(pytest.fail))
            actors.let_go(breaker)
            await until(lambda: breaker.statistics().in_flight == 0)
            now = breaker.statistics()
            assert (now.cancelled, now.rejected) == ((0, 1) if refused else (1, 0))
            assert await breaker.call(succeed) == "fine"

    run(main)


def test_stopped_while_the_thread_waits_for_admission(run: Run, actors: Actors) -> None:
    """A circuit's last turn answers the thread."""

    async def main() -> None:
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = await half_open(supervisor)
            actors.held = True

            async def host() -> None:
                assert await to_thread.run_sync(breaker.call_from_thread, fine) == "fine"
                with pytest.raises(CircuitStoppedError):
                    await to_thread.run_sync(breaker.call_from_thread, fine)
                assert adds_up(breaker.statistics())

            tasks.start_soon(host)
            await until(actors.asked.is_set)
            actors.held = False
            supervisor.stop("x")

    run(main)


@every_thread
def test_refused_again_and_again_without_an_actor(run: Run, in_thread: InThread) -> None:
    """Whoever asks on the event loop for all threads is none of them, and not told to wait."""

    def call_twice(breaker: CircuitBreaker) -> None:
        for _ in range(2):
            with pytest.raises(CircuitStoppedError):
                breaker.call_from_thread(pytest.fail)

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            supervisor.stop("x")
            await in_thread(partial(call_twice, breaker))
            assert adds_up(breaker.statistics())

    run(main)


def test_stopped_just_before_the_thread_asks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A circuit that ends between a thread's request and the task that asks for it refuses."""

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = await half_open(supervisor)
            start_task = Tasks.start

            def start_task_and_stop(tasks: Tasks[Any], *args: Any) -> None:
                start_task(tasks, *args)
                supervisor.stop("x")

            monkeypatch.setattr(Tasks, "start", start_task_and_stop)
            with pytest.raises(CircuitStoppedError):
                await to_thread.run_sync(breaker.call_from_thread, pytest.fail)
            assert adds_up(breaker.statistics())

    run(main)


# The end of the event loop


def test_the_event_loop_ends_while_the_function_runs(run: Run) -> None:
    """Its own result or error comes out, then and later calls get a clear error."""
    breaker = CircuitBreaker("x")
    begun, over = threading.Semaphore(0), threading.Event()
    outcomes: list[Future[Any]] = []
    working: list[threading.Thread] = []

    def slow(func: Callable[[], str]) -> str:
        begun.release()
        assert over.wait(SECONDS)
        return func()

    def abandoned(func: Callable[[], str], outcome: Future[Any]) -> None:
        working.append(threading.current_thread())
        try:
            outcome.set_result(breaker.call_from_thread(slow, func))
        except Down as error:
            outcome.set_exception(error)
        with pytest.raises(RunFinishedError):
            breaker.call_from_thread(pytest.fail)

    async def main() -> None:
        await breaker.call(succeed)
        async with anyio.create_task_group() as tasks:
            for func in (fine, down):
                outcomes.append(Future())

                async def host(*args: Any) -> None:
                    await to_thread.run_sync(abandoned, *args, abandon_on_cancel=True)

                tasks.start_soon(host, func, outcomes[-1])
            for func in (fine, down):
                outcome, thread = start(lambda func=func: breaker.call_from_thread(slow, func))
                outcomes.append(outcome)
                working.append(thread)
            await until(lambda: len(working) == 4)
            for _ in working:
                await to_thread.run_sync(begun.acquire)
            tasks.cancel_scope.cancel()

    run(main)
    over.set()
    assert [outcomes[at].result(SECONDS) for at in (0, 2)] == ["fine", "fine"]
    assert [type(outcomes[at].exception(SECONDS)) for at in (1, 3)] == [Down, Down]
    for thread in working:
        if not thread.name.startswith("Trio"):  # those are kept for later
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_the_event_loop_ends_while_the_thread_waits_for_admission(run: Run, actors: Actors) -> None:
    """The thread is told, and its function is not called."""
    asking: list[Future[Any]] = []

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.01)
        await fail_times(breaker, 1)
        await until(lambda: breaker.state == "half_open")
        actors.held = True
        asking.append(start(lambda: breaker.call_from_thread(pytest.fail))[0])
        await until(actors.asked.is_set)

    run(main)
    with pytest.raises(RunFinishedError):
        asking[0].result(SECONDS)


def test_the_event_loop_ends_while_the_thread_waits_for_the_budget(
    run: Run, actors: Actors
) -> None:
    """The thread is told that, too."""
    asking: list[Future[Any]] = []

    async def main() -> None:
        breaker = CircuitBreaker("x", retry_budget=0.1)
        await breaker.call(succeed)
        actors.held = True
        asking.append(start(breaker.sync.spend_retry)[0])
        await until(actors.asked.is_set)

    run(main)
    with pytest.raises(RunFinishedError):
        asking[0].result(SECONDS)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_event_loop_that_is_closed_without_a_word(
    new_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that no event loop will ever see again does not hang, before or after."""
    breaker = CircuitBreaker("x")
    posted = threading.Event()
    post = threads.post

    def post_and_tell(*args: Any) -> None:
        post(*args)
        posted.set()

    async def main() -> None:
        await breaker.call(succeed)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    loop = new_loop()
    loop.run_until_complete(main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        start(lambda: breaker.call_from_thread(pytest.fail))[0].result(SECONDS)
    monkeypatch.setattr(EventLoop, "is_running", lambda _: True)  # as it was a moment ago
    monkeypatch.setattr(threads, "post", post_and_tell)
    asking, _ = start(lambda: breaker.call_from_thread(pytest.fail))
    assert posted.wait(SECONDS)
    loop.close()
    with pytest.raises(RunFinishedError):
        asking.result(SECONDS)
    with pytest.raises(RuntimeError, match="no running event loop"):  # that one is forgotten
        breaker.call_from_thread(pytest.fail)


# Wrong threads and wrong event loops


class World:
    """A circuit in use on its own event loop, and all that others may try with it."""

    def __init__(self, supervisor: Supervisor, breaker: CircuitBreaker, permit: Permit) -> None:
        self.supervisor = supervisor
        self.breaker = breaker
        self.permit = permit

    def block(self) -> Coroutine[Any, Any, object]:
        return self.breaker.__aenter__()

    def decorated(self) -> Coroutine[Any, Any, object]:
        return self.breaker(succeed)()


def by_name() -> Coroutine[Any, Any, object]:
    return with_circuit_breaker("x")(succeed)()


def by_retry() -> Coroutine[Any, Any, object]:
    return retry_api_call()(succeed)()


ASYNC: dict[str, Callable[[World], Coroutine[Any, Any, object]]] = {
    "call": lambda world: world.breaker.call(succeed),
    "acquire": lambda world: world.breaker.acquire(),
    "async with": World.block,
    "decorator": World.decorated,
    "get_circuit_breaker": lambda _: get_circuit_breaker("x"),
    "with_circuit_breaker": lambda _: by_name(),
    "retry_api_call": lambda _: by_retry(),
}
OF_THE_CIRCUIT = ["call", "acquire", "async with", "decorator"]

SYNC: dict[str, Callable[[World], object]] = {
    "state": lambda world: world.breaker.state,
    "failure_count": lambda world: world.breaker.failure_count,
    "retry_after": lambda world: world.breaker.retry_after,
    "statistics": lambda world: world.breaker.statistics(),
    "reset": lambda world: world.breaker.reset(),
    "permit.succeed": lambda world: world.permit.succeed(),
    "permit.fail": lambda world: world.permit.fail(Down("down")),
    "permit.ignore": lambda world: world.permit.ignore(),
    "with permit": lambda world: world.permit.__exit__(None, None, None),
    "supervisor.statistics": lambda world: world.supervisor.statistics(),
    "supervisor.circuit": lambda world: world.supervisor.circuit("new"),
    "supervisor.stop": lambda world: world.supervisor.stop("x"),
}

HARMLESS: dict[str, tuple[Callable[[World], object], object]] = {
    "name": (lambda world: world.breaker.name, "x"),
    "policy": (lambda world: world.breaker.failure_threshold, 5),
    "settled": (lambda world: world.permit.settled, False),
    "names": (lambda world: list(world.supervisor), ["x"]),
    "circuit that is there": (lambda world: world.supervisor.circuit("x").name, "x"),
    "get_circuit_breaker_sync": (lambda _: get_circuit_breaker_sync("x"), None),
}
"""What may be used anywhere: it tells what cannot change, or is about the thread's own loops."""


def without_event_loop(work: Coroutine[Any, Any, object]) -> object:
    """Take the first step of `work` where no event loop runs."""
    try:
        return work.send(None)
    finally:
        work.close()


async def unharmed(world: World, before: Statistics) -> None:
    """The circuit has noticed nothing, guards calls as before, and adds up."""
    assert world.breaker.statistics() == before
    assert not world.permit.settled
    world.permit.succeed()
    assert await world.breaker.call(succeed) == "fine"
    await fail_times(world.breaker, 5)
    with pytest.raises(CircuitBreakerOpenError):
        await world.breaker.call(succeed)
    now = world.breaker.statistics()
    assert (now.succeeded, now.failed, now.rejected) == (3, 6, 1)
    assert (now.restarts, adds_up(now)) == (0, True)


def in_world(run: Run, attempt: Callable[[World], Awaitable[None]]) -> None:
    """Let `attempt` do something wrong with a circuit in use, and see that it is unharmed."""

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=5)
            await breaker.call(succeed)
            await fail_times(breaker, 1)
            with await breaker.acquire() as permit:
                world = World(supervisor, breaker, permit)
                before = breaker.statistics()
                await attempt(world)
                await unharmed(world, before)

    run(main)


@every_thread
def test_a_thread_that_runs_no_event_loop(run: Run, in_thread: InThread, enabled: None) -> None:
    """Every use of a circuit is an error at once, and whatever else may be used works."""

    async def attempt(world: World) -> None:
        for awaiting in ASYNC.values():
            with pytest.raises(RuntimeError, match=r"event loop|async library"):
                await in_thread(lambda use=awaiting: without_event_loop(use(world)))
        for name, use in SYNC.items():
            with pytest.raises(RuntimeError, match=r"event loop") as caught:
                await in_thread(lambda use=use: use(world))
            assert not isinstance(caught.value, NoEventLoopError), name
        for use, answer in HARMLESS.values():
            assert await in_thread(lambda use=use: use(world)) == answer

    in_world(run, attempt)


def test_an_event_loop_in_another_thread(run: Run, enabled: None) -> None:
    """It is refused a circuit of the first one, and has its own ones by name."""

    async def attempt(world: World) -> None:
        async def elsewhere() -> None:
            for name, awaiting in ASYNC.items():
                if name in OF_THE_CIRCUIT:
                    with pytest.raises(CircuitStoppedError, match="another event loop"):
                        await awaiting(world)
                else:
                    await awaiting(world)
            for use in SYNC.values():
                with pytest.raises(RuntimeError, match="event loop"):
                    use(world)
            own = get_circuit_breaker_sync("x")
            assert own is not None
            assert own.statistics().succeeded == 1  # by the decorator
            reset_all_circuit_breakers()
            clear_circuit_breaker_registry()
            with pytest.raises(RuntimeError, match="another event loop"):
                await to_thread.run_sync(world.breaker.call_from_thread, pytest.fail)

        await in_own_thread(lambda: run(elsewhere))

    in_world(run, attempt)


def test_a_breaker_that_goes_from_loop_to_loop_and_thread_to_thread(run: Run) -> None:
    """A breaker of your own has a circuit on each loop; none hears of the others' outcomes."""
    breaker = CircuitBreaker("x", failure_threshold=100)

    async def elsewhere() -> Statistics:
        await breaker.call(succeed)
        await fail_times(breaker, 2)
        await to_thread.run_sync(breaker.call_from_thread, fine)
        return breaker.statistics()

    async def main() -> None:
        for round_ in range(1, 6):
            await breaker.call(succeed)
            there = await in_own_thread(lambda: run(elsewhere))
            with pytest.raises(NoEventLoopError):
                await to_thread.run_sync(lambda: without_event_loop(breaker.call(succeed)))
            assert (there.succeeded, there.failed, adds_up(there)) == (2, 2, True)
            now = breaker.statistics()
            assert (now.succeeded, now.failed, adds_up(now)) == (round_, 0, True)

    run(main)


def test_after_the_event_loop_has_ended(run: Run, enabled: None) -> None:
    """What would wait is an error; figures can be read, and a permit may still be settled."""
    clear_circuit_breaker_registry()  # of loops that other tests have left paused

    async def main() -> World:
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=5)
            await breaker.call(succeed)
            return World(supervisor, breaker, await breaker.acquire())

    world: World = run(main)
    for awaiting in ASYNC.values():
        with pytest.raises(RuntimeError, match=r"event loop|async library"):
            without_event_loop(awaiting(world))
    with pytest.raises(RuntimeError, match=r"no running event loop|has already finished"):
        world.breaker.call_from_thread(pytest.fail)
    with pytest.raises(RuntimeError, match="has ended"):
        world.supervisor.circuit("new")
    with pytest.raises(KeyError):
        world.supervisor.stop("x")
    for use in (get_circuit_breaker_sync, world.supervisor.get):
        assert use("x") is None
    reset_all_circuit_breakers()
    clear_circuit_breaker_registry()
    world.breaker.reset()
    world.permit.fail(Down("down"))
    now = world.breaker.statistics()
    assert (now.running, now.succeeded, now.failed, adds_up(now)) == (False, 1, 1, True)


# Faults of the package that these tests have found


COPIED_CONTEXT = "loop_time() and hosts_here() believe the context that asyncio.to_thread copied"


@pytest.mark.parametrize("name", ["state", "statistics", "reset"])
def test_a_thread_of_asyncios_own_is_told_what_to_do(name: str) -> None:
    """Reading a breaker of your own in `asyncio.to_thread` names the circuit and the way out."""
    breaker = CircuitBreaker("x")

    async def main() -> None:
        await breaker.call(succeed)
        use = SYNC[name]
        with pytest.raises(RuntimeError) as caught:
            await asyncio.to_thread(use, World(Supervisor(), breaker, cast("Permit", None)))
        assert "breaker.sync.ask" in str(caught.value)

    anyio.run(main)


def test_a_thread_of_asyncios_own_has_no_circuits() -> None:
    """What is looked for by name is looked for among those of its own thread: none."""

    async def main() -> None:
        await get_circuit_breaker("x")
        assert await asyncio.to_thread(get_circuit_breaker_sync, "x") is None
        assert get_circuit_breaker_sync("x") is not None

    anyio.run(main)


def test_a_breaker_can_be_shown_anywhere(run: Run) -> None:
    """A log line or a traceback in another thread may show it."""

    async def attempt(world: World) -> None:
        assert await to_thread.run_sync(repr, world.breaker) == "<CircuitBreaker 'x'>"

    in_world(run, attempt)


@pytest.mark.parametrize("name", [name for name in ASYNC if name not in OF_THE_CIRCUIT])
def test_by_name_where_no_event_loop_runs(name: str, enabled: None) -> None:
    """The documented error, as from a circuit that is in the hand."""
    with pytest.raises(NoEventLoopError):
        without_event_loop(ASYNC[name](cast("World", None)))


def test_an_interrupt_as_the_admission_arrives(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was granted at that moment goes back; a probe's place, too."""
    arrived = threads.wait

    def interrupted(*args: Any) -> None:
        arrived(*args)
        raise KeyboardInterrupt

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=0.01)
            await fail_times(breaker, 1)
            await anyio.sleep(0.02)
            monkeypatch.setattr(threads, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                await in_own_thread(lambda: breaker.call_from_thread(pytest.fail))
            monkeypatch.undo()
            await settle_down()
            now = breaker.statistics()
            assert (now.cancelled, now.in_flight, now.state) == (1, 0, "half_open")
            assert await breaker.call(succeed) == "fine"

    run(main)


def test_the_text_of_an_error_is_asked_for_in_the_thread(run: Run) -> None:
    """It is the user's code, and may exit; the failure counts all the same."""
    asked_in: list[int] = []

    class Exits(Exception):
        def __str__(self) -> str:
            asked_in.append(threading.get_ident())
            raise SystemExit

    def work() -> None:
        with pytest.raises(SystemExit):
            breaker.call_from_thread(raises)
        assert asked_in == [threading.get_ident()]

    def raises() -> None:
        raise Exits

    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        async with Supervisor():
            await to_thread.run_sync(work)
            assert (breaker.state, breaker.statistics().last_failure) == ("open", "Exits")

    run(main)


def test_a_run_of_trios_that_takes_no_more_tasks() -> None:
    """A thread that would start a circuit then is told that the run is over."""
    breaker = CircuitBreaker("x")
    go = threading.Event()

    def work() -> None:
        go.wait(10)
        with pytest.raises(RunFinishedError):
            breaker.call_from_thread(pytest.fail)

    async def hold_the_end_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            go.set()
            time.sleep(0.2)  # noqa: ASYNC251  (trio must not go on meanwhile)

    async def main() -> None:
        await breaker.call(succeed)
        clear_circuit_breaker_registry()
        trio.lowlevel.spawn_system_task(hold_the_end_up)
        await settle_down()

    asked, thread = start(work)
    trio.run(main)
    thread.join(10)
    asked.result(0)
