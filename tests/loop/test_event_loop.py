"""Which event loop this very code runs on: forks, guests, nested loops, callbacks, clocks, ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import anyio
import pytest
import trio
import trio.testing
import uvloop

from supervisor import (
    CircuitBreaker,
    CircuitState,
    Permit,
    Supervisor,
    get_circuit_breaker_sync,
    reset_all_circuit_breakers,
    with_circuit_breaker,
)
from supervisor.circuit import actor
from supervisor.loop import NOWHERE, EventLoop, LoopVar, event_loop, posting, running_loop
from supervisor.loop.event_loop import _after_fork
from supervisor.supervision import current_supervisor
from tests.support.worlds import collect_garbage, fail_times, succeed

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def run_on(new_loop: NewLoop, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run `main` in real time on a loop of its own."""
    return anyio.run(main, backend_options={"loop_factory": new_loop})


def run_script(script: str, *arguments: str) -> str:
    """Run a program in a process of its own, and return what it prints."""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Forks

FORKED = """
    import asyncio, contextvars, os, sys, threading, warnings
    warnings.simplefilter("ignore")  # trio shares its signals with the process that it came from
    import anyio
    from supervisor import (
        CircuitBreaker, CircuitBreakerOpenError, get_circuit_breaker_sync,
        reset_all_circuit_breakers, with_circuit_breaker, app_settings,
    )

    app_settings.circuit_breaker.enabled = True
    backend, forks_in = sys.argv[1:]
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    on = dict(backend="trio" if backend == "trio" else "asyncio", backend_options=options)
    breaker = CircuitBreaker("db", failure_threshold=3, recovery_timeout=0.05)

    async def fine(): return "fine"
    async def bad(): raise ConnectionError

    @with_circuit_breaker("named", failure_threshold=3, recovery_timeout=0.05)
    async def named(call): return await call()

    async def use(call):
        ended = []
        for _ in range(5):
            try:
                await call(bad)
            except Exception as error:
                ended.append(type(error).__name__)
        assert ended == ["ConnectionError"] * 3 + ["CircuitBreakerOpenError"] * 2, ended
        await anyio.sleep(0.1)
        assert await call(fine) == "fine"

    async def both():
        assert breaker.statistics().started == 0, breaker.statistics()
        await use(breaker.call)
        await use(named)
        assert await anyio.to_thread.run_sync(breaker.call_from_thread, lambda: "fine") == "fine"

    def live():
        try:
            try:
                breaker.call_from_thread(print)
                raise AssertionError("there is no event loop to be asked")
            except RuntimeError:
                pass
            assert get_circuit_breaker_sync("db") is None
            reset_all_circuit_breakers()
            anyio.run(both, **on)
            anyio.run(both, **on)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def fork():
        child = os.fork()
        if not child:
            contextvars.Context().run(live)  # in the present one, anyio believes that it runs
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    async def parent():
        await breaker.call(fine)
        await named(fine)
        if forks_in == "task":
            fork()
        else:
            await anyio.to_thread.run_sync(fork)
        assert await breaker.call(fine) == "fine"
        assert breaker.statistics().started == 2
        await named(fine)

    anyio.run(parent, **on)
    print("fine")
"""


@pytest.mark.parametrize(
    ("backend", "forks_in"),
    # A process forked in a task of trio's believes that its run goes on, and can start no other.
    [("asyncio", "task"), ("uvloop", "task"), ("asyncio", "thread"), ("uvloop", "thread"),
     ("trio", "thread")],
)  # fmt: skip
def test_a_process_that_is_forked_while_a_loop_runs(backend: str, forks_in: str) -> None:
    """It joins its own loops as if nothing had run, and the parent goes on as before."""
    assert run_script(FORKED, backend, forks_in) == "fine\n"


@LOOPS
def test_a_process_that_is_forked_between_runs(new_loop: NewLoop) -> None:
    """It may go on with the loop, and with its circuits."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    loop = new_loop()
    loop.run_until_complete(fail_times(breaker, 1))
    _after_fork()  # as the child does
    assert loop.run_until_complete(state_of(breaker)) is CircuitState.OPEN
    assert get_circuit_breaker_sync("x") is not None
    reset_all_circuit_breakers()
    assert loop.run_until_complete(breaker.call(succeed)) == "fine"
    finish(loop)


async def state_of(breaker: CircuitBreaker) -> CircuitState:
    return breaker.state


def finish(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop as `asyncio.run` does."""

    async def cancel_others() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    loop.run_until_complete(cancel_others())
    loop.close()


# Several loops in one thread


@LOOPS
@pytest.mark.parametrize(
    "turns_tell", [True, False] if hasattr(asyncio.tasks, "_current_tasks") else [False]
)
def test_trio_as_a_guest(
    new_loop: NewLoop, turns_tell: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two loops in one thread have two sets of circuits, whoever has used a breaker first.

    By either way of telling them apart, where Python knows both.
    """
    monkeypatch.setattr(event_loop, "TURNS_TELL_LOOPS_APART", turns_tell)
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.05)
    seen: list[tuple[CircuitState, int]] = []

    async def guest() -> None:
        assert await breaker.call(succeed) == "fine"
        await fail_times(breaker, 1)
        for _ in range(3):
            seen.append((breaker.state, breaker.statistics().started))
            await trio.lowlevel.checkpoint()
        await trio.sleep(0.1)
        assert await breaker.call(succeed) == "fine"
        seen.append((breaker.state, breaker.statistics().started))
        await fail_times(breaker, 1)

    async def host() -> None:
        assert await breaker.call(succeed) == "fine"
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        calls = 1
        while not ended.done():
            assert await breaker.call(succeed) == "fine"
            calls += 1
            await asyncio.sleep(0)
        ended.result().unwrap()
        assert (breaker.state, breaker.statistics().started) == (CircuitState.CLOSED, calls)
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN

    run_on(new_loop, host)
    assert seen == [(CircuitState.OPEN, 2)] * 3 + [(CircuitState.CLOSED, 3)]


TRIPPED = """
    import asyncio, warnings
    from supervisor import CircuitBreaker

    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.1)

    async def fine(): return "fine"
    async def bad(): raise ConnectionError

    async def trip():
        try:
            await breaker.call(bad)
        except ConnectionError:
            pass
        assert breaker.state == "open"
"""

TRIO_ASYNCIO = """
    warnings.simplefilter("ignore")  # the package uses what will be deprecated
    import trio, trio_asyncio

    async def asyncios():
        assert breaker.state == "closed"
        await trip()
        seen = []
        asyncio.get_running_loop().call_soon(lambda: seen.append(breaker.state))
        await asyncio.sleep(0.01)
        assert seen == ["open"]
        await asyncio.sleep(0.2)
        assert await breaker.call(fine) == "fine"

    async def asyncios_with_trio_in_it():
        await trip()
        async def trios():
            assert breaker.state == "half_open"
            assert await breaker.call(fine) == "fine"
        await trio_asyncio.trio_as_aio(trios)()
        assert breaker.state == "open"

    async def main():
        assert await breaker.call(fine) == "fine"
        async with trio_asyncio.open_loop():
            await trio_asyncio.aio_as_trio(asyncios)()
            assert breaker.state == "closed"
            await trip()
            await trio.sleep(0.2)
            await trio_asyncio.aio_as_trio(asyncios_with_trio_in_it)()
            assert breaker.state == "closed"
        print("fine")

    trio.run(main)
"""


@pytest.mark.parametrize("first", ["supervisor", "trio_asyncio"])
def test_trio_asyncio_both_ways(first: str) -> None:
    """Code of asyncio's within a run of trio's, and code of trio's within that, whichever package
    is imported first: trio-asyncio replaces functions of asyncio's.
    """
    ignore = "import warnings; warnings.simplefilter('ignore'); "
    script = textwrap.dedent(TRIPPED) + textwrap.dedent(TRIO_ASYNCIO)
    assert run_script(f"{ignore}import {first}\n{script}") == "fine\n"


NESTED = """
    import nest_asyncio2 as nest

    async def within():
        assert breaker.state == "closed"
        await trip()
        await asyncio.sleep(0.2)
        assert await breaker.call(fine) == "fine"

    async def main():
        assert await breaker.call(fine) == "fine"
        nest.apply()
        inner = asyncio.new_event_loop()
        nest.apply(inner)
        inner.run_until_complete(within())
        assert (breaker.state, breaker.statistics().started) == ("closed", 1)
        await trip()
        inner.run_until_complete(within())
        assert (breaker.state, breaker.statistics().started) == ("half_open", 2)
        assert await breaker.call(fine) == "fine"
        assert asyncio.get_running_loop().run_until_complete(breaker.call(fine)) == "fine"
        for task in asyncio.all_tasks(inner):
            task.cancel()
        inner.run_until_complete(asyncio.sleep(0))
        inner.close()
        print("fine")

    asyncio.run(main())
"""


def test_a_loop_inside_a_running_one() -> None:
    """Packages that allow it are asked exactly, on every version of Python."""
    assert run_script(TRIPPED + NESTED) == "fine\n"


# Code outside tasks


@LOOPS
def test_a_callback_reads_the_truth(new_loop: NewLoop) -> None:
    """In `loop.call_soon`, where no task runs, a breaker that is new there finds its circuit."""
    seen: list[object] = []

    def look() -> None:
        fresh = CircuitBreaker("x", failure_threshold=1)
        seen.append((fresh.state, fresh.statistics().failed, running_loop()))
        fresh.reset()
        seen.append(fresh.state)
        seen.append(get_circuit_breaker_sync("x") is not None)

    async def main() -> None:
        await fail_times(CircuitBreaker("x", failure_threshold=1), 1)
        loop = asyncio.get_running_loop()
        loop.call_soon(look)
        await asyncio.sleep(0.01)
        assert seen == [(CircuitState.OPEN, 1, loop), CircuitState.CLOSED, True]

    run_on(new_loop, main)


def test_nothing_runs_here() -> None:
    """Where no event loop runs, none is found, and none can be joined."""
    assert running_loop() is None
    assert not NOWHERE.runs_here()
    assert not NOWHERE.is_running()
    with pytest.raises(anyio.NoEventLoopError, match="call this from async code"):
        EventLoop.here()
    with pytest.raises(anyio.NoEventLoopError, match="call this from async code"):
        LoopVar("x", 1).get()


def test_a_mark_of_trios_that_was_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's name without a run of it is no event loop."""
    monkeypatch.setattr("sniffio.thread_local.name", "trio")
    assert running_loop() is None


@LOOPS
def test_another_thread_imports_trio(new_loop: NewLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are there before what is in them."""

    async def main() -> None:
        monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
        monkeypatch.delitem(sys.modules, "trio.lowlevel")
        assert EventLoop.here().asyncio_loop is not None
        monkeypatch.setitem(sys.modules, "trio.lowlevel", ModuleType("trio.lowlevel"))
        assert EventLoop.here().asyncio_loop is not None

    run_on(new_loop, main)


# Clocks


@LOOPS
def test_the_time_is_the_loops_own(new_loop: NewLoop) -> None:
    """A test may replace a loop's `time` at any moment: its circuits go by it from then on."""
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=1000.0)
    policy: dict[str, Any] = {"slow_call_duration": 500.0, "slow_call_rate": 0.5}
    slow = CircuitBreaker("slow", 1, 1000.0, window_calls=2, minimum_calls=1, **policy)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await breaker.call(succeed)
        original = loop.time
        ahead = 0.0
        loop.time = lambda: original() + ahead
        await fail_times(breaker, 1)
        used = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - used < 0.2  # nobody spins while it is open
        assert 990 < breaker.retry_after <= 1000

        async def last() -> None:
            nonlocal ahead
            ahead += 600.0

        await slow.call(last)
        assert slow.state is CircuitState.OPEN
        ahead += 600.0
        assert breaker.state is CircuitState.HALF_OPEN
        assert await breaker.call(succeed) == "fine"

    run_on(new_loop, main)


@LOOPS
def test_a_clock_that_stands_still(new_loop: NewLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What freezes the clock of the process does not move a circuit on a loop of its own clock."""
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=1000.0)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.time = lambda: 5.0
        await fail_times(breaker, 1)
        monkeypatch.setattr(time, "monotonic", lambda: 2e9)
        assert breaker.retry_after == 1000.0
        loop.time = lambda: 1004.0
        assert breaker.retry_after == 1.0
        monkeypatch.undo()
        del loop.time

    run_on(new_loop, main)


# Ends


@LOOPS
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.usefixtures("known_settings")  # or a thread that has read them may keep it
def test_a_loop_that_is_closed_with_its_tasks_is_freed(
    new_loop: NewLoop, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """So are its supervisor and its circuits; nobody is told of tasks that were destroyed."""
    freed: list[weakref.ref[Any]] = []

    def live() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)

        @with_circuit_breaker("named")
        async def named() -> None:
            pass

        async def main() -> None:
            await breaker.call(succeed)
            await named()
            if is_open:
                await fail_times(breaker, 1)
            await asyncio.sleep(0)

        loop = new_loop()
        loop.run_until_complete(main())
        loop.close()
        freed.extend([weakref.ref(loop), weakref.ref(breaker._circuit.loop)])

    for _ in range(3):
        live()
    collect_garbage()
    assert [reference() for reference in freed] == [None] * 6
    assert caplog.text == ""


async def _is_open(breaker: CircuitBreaker) -> None:
    await fail_times(breaker, 3)


async def _is_waited_for(breaker: CircuitBreaker) -> None:
    await fail_times(breaker, 3)
    task = asyncio.get_running_loop().create_task(breaker.waiting(60).call(succeed))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def _is_recorded(breaker: CircuitBreaker) -> None:
    await breaker.call(succeed)
    current_supervisor().record("x")


async def _was_retired(breaker: CircuitBreaker) -> None:
    async with Supervisor(max_circuits=1) as supervisor:
        await breaker.call(succeed)
        supervisor.circuit("another")


async def _has_calls(breaker: CircuitBreaker) -> None:
    _permits.append(await breaker.acquire())


_permits: list[Permit] = []


def begin_on_another_loop() -> None:
    """Which is when closed ones are forgotten."""
    asyncio.run(CircuitBreaker("another").call(succeed))
    collect_garbage()


@LOOPS
@pytest.mark.parametrize("ends", ["closed", "cancelled"])
@pytest.mark.parametrize("fields", [{}, {"slow_call_duration": 1.0}], ids=["plain", "timed"])
@pytest.mark.parametrize("use", [_is_open, _is_waited_for, _is_recorded, _was_retired, _has_calls])
@pytest.mark.usefixtures("known_settings")  # or a thread that has read them may keep it
def test_a_closed_loop_is_freed_whatever_is_kept_of_its_circuit(
    new_loop: NewLoop, ends: str, fields: dict[str, Any], use: Any
) -> None:
    """A breaker that outlives it, as one of a module does, shows its last figures all the same."""
    breaker = CircuitBreaker("x", **fields)

    def live() -> weakref.ref[Any]:
        loop = new_loop()
        if ends == "closed":
            loop.run_until_complete(use(breaker))
            loop.close()
        else:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(use(breaker))
        return weakref.ref(loop)

    loop = live()
    before = breaker.statistics()
    collect_garbage()
    assert loop() is None
    after = breaker.statistics()
    ended = {"running": False, "waiting": 0, "cancelled": after.cancelled}  # with its task
    assert after == replace(before, in_flight=after.in_flight, **ended)
    for permit in _permits:
        permit.fail()
        assert breaker.statistics().failed == before.failed + 1
    _permits.clear()
    breaker.reconfigure(slow_call_duration=2.0)  # of a circuit that does not run
    run_on(new_loop, lambda: breaker.call(succeed))


def test_a_supervisor_whose_loop_was_closed_has_ended() -> None:
    """Whoever has kept it is told so at once."""
    supervisor = Supervisor()

    async def main() -> CircuitBreaker:
        await supervisor.__aenter__()
        return supervisor.circuit("x")

    loop = asyncio.new_event_loop()
    breaker = loop.run_until_complete(main())
    loop.close()
    assert supervisor.ended
    assert not breaker.statistics().running
    assert supervisor.figures().circuits["x"].started == 0
    with pytest.raises(RuntimeError, match="the supervisor has ended"):
        supervisor.circuit("y")


def test_a_loop_that_does_not_say_whether_it_is_closed() -> None:
    """Others go on, and say nothing of it."""

    class Silent(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            if self.is_silent:
                raise OSError
            return super().is_closed()

        is_silent = False

    breaker = CircuitBreaker("x")
    loop = Silent()
    loop.run_until_complete(breaker.call(succeed))
    loop.is_silent = True
    begin_on_another_loop()
    loop.is_silent = False
    assert breaker.statistics().running
    loop.close()


def test_a_loop_without_a_dictionary() -> None:
    """A loop's own values are kept beside it if it keeps none itself."""

    class Bare:
        __slots__ = ("__weakref__",)

    kept: LoopVar[int] = LoopVar("x", 1)
    loop: Any = Bare()
    asyncio._set_running_loop(loop)
    try:
        assert kept.get() == 1
        kept.set(2)
        assert kept.get() == 2
    finally:
        asyncio._set_running_loop(None)


def test_loops_of_many_threads_come_and_go() -> None:
    """Each thread's loop is made while those of other threads are, and are freed."""
    failed: list[BaseException] = []

    async def make() -> None:
        for _ in range(300):
            assert EventLoop.here().runs_here()

    def run() -> None:
        try:
            asyncio.run(make())
        except BaseException as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failed == []


@pytest.mark.anyio
async def test_a_value_for_each_loop() -> None:
    """It is that of this loop, and no other's."""
    kept: LoopVar[int] = LoopVar("x", 1)
    assert kept.get() == 1
    kept.set(2)
    assert kept.get() == 2


@pytest.mark.anyio
async def test_a_supervisor_of_the_loop_that_runs_here() -> None:
    """An event loop knows that it runs here, and that it runs."""
    async with Supervisor():
        here = EventLoop.here()
        assert (here.runs_here(), here.is_running()) == (True, True)
        here.leave_behind()
        assert (here.runs_here(), here.is_running()) == (True, False)


def test_a_worker_thread_of_the_process_that_was_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child, such a thread serves the parent's event loop no more."""

    def forked() -> None:
        posting._after_fork()
        with pytest.raises(anyio.NoEventLoopError, match="forked"):
            posting.from_worker_thread()

    monkeypatch.setattr(posting, "_parents", None)
    anyio.run(anyio.to_thread.run_sync, forked)


@LOOPS
def test_an_interrupt_in_an_actors_turn(new_loop: NewLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop ends by it, as if a task had been interrupted; run again, the actor goes on."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    loop = new_loop()
    loop.run_until_complete(breaker.call(succeed))
    take_turn = actor.take_turn

    def interrupt(*_: object) -> None:
        monkeypatch.setattr(actor, "take_turn", take_turn)
        raise KeyboardInterrupt

    monkeypatch.setattr(actor, "take_turn", interrupt)
    breaker.reset()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(0.05))
    loop.run_until_complete(fail_times(breaker, 1))
    loop.run_until_complete(asyncio.sleep(0))
    assert breaker.statistics().restarts == 0
    assert loop.run_until_complete(state_of(breaker)) is CircuitState.OPEN
    finish(loop)


def test_an_interrupt_in_a_turn_on_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it counts as a crash, and is mended: an interrupt in a system task ends the program."""
    breaker = CircuitBreaker("x")
    take_turn = actor.take_turn

    def interrupt(*_: object) -> None:
        monkeypatch.setattr(actor, "take_turn", take_turn)
        raise KeyboardInterrupt

    async def main() -> None:
        await breaker.call(succeed)
        monkeypatch.setattr(actor, "take_turn", interrupt)
        breaker.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert breaker.statistics().restarts == 1
        assert await breaker.call(succeed) == "fine"

    trio.run(main)
