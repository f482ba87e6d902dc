"""`supervisor.testing`: time that jumps, on asyncio, uvloop and trio."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from anyio import from_thread, to_thread

from supervisor.testing import (
    Backend,
    VirtualTimeLoop,
    clock,
    jump,
    loop_factory,
    run_in_virtual_time,
    trio_time,
    virtual_time,
)
from tests.support.worlds import BACKENDS, collect_garbage

DAY = 86_400.0
NewLoop = Callable[[], asyncio.AbstractEventLoop]

every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_loop = pytest.mark.parametrize(
    "new_loop", [loop_factory(), loop_factory("uvloop")], ids=["asyncio", "uvloop"]
)


def run_loop(new_loop: NewLoop, main: Callable[[], Awaitable[Any]], **options: Any) -> Any:
    """Run `main` without anyio."""
    with asyncio.Runner(loop_factory=new_loop, **options) as runner:
        return runner.run(main())  # type: ignore[arg-type]


def eager_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """`asyncio.eager_task_factory`, which uvloop cannot call on Python 3.13.0."""
    return asyncio.Task(coro, loop=loop, **{**options, "eager_start": True})


class TestTime:
    """When it passes, and when it does not."""

    @every_backend
    def test_a_day_passes_at_once(self, backend: Backend) -> None:
        """Time starts at 0, and sleeping takes as long as was said."""

        async def main(seconds: float) -> float:
            assert anyio.current_time() == 0
            await anyio.sleep(seconds)
            return anyio.current_time()

        began = time.monotonic()
        assert run_in_virtual_time(main, DAY, backend=backend) == DAY
        assert time.monotonic() - began < 10

    def test_asyncio_is_what_is_meant_if_nothing_is_said(self) -> None:
        """The backend may be left out."""

        async def main() -> type:
            return type(asyncio.get_running_loop())

        assert run_in_virtual_time(main) is VirtualTimeLoop

    @every_backend
    def test_none_passes_while_anybody_has_something_to_do(self, backend: Backend) -> None:
        """However many turns that takes."""

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 1)
                for _ in range(100):
                    await anyio.lowlevel.checkpoint()
                assert anyio.current_time() == 0
            assert anyio.current_time() == 1

        run_in_virtual_time(main, backend=backend)

    @every_backend
    def test_what_never_comes_is_not_waited_for(self, backend: Backend) -> None:
        """Beside infinite timers, time jumps to those that end."""

        async def main() -> None:
            with anyio.fail_after(math.inf), anyio.move_on_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.sleep_forever)
                    tasks.start_soon(anyio.sleep, math.inf)
            assert anyio.current_time() == 5

        run_in_virtual_time(main, backend=backend)

    @every_backend
    def test_timeouts_fire_at_their_time(self, backend: Backend) -> None:
        """The first one that is due ends what is in it."""

        async def main() -> None:
            with anyio.fail_after(10):
                with anyio.move_on_after(3):
                    await anyio.sleep(5)
                assert anyio.current_time() == 3
            await anyio.sleep(20)
            assert anyio.current_time() == 23

        run_in_virtual_time(main, backend=backend)

    @every_backend
    def test_a_blocked_event_loop(self, backend: Backend) -> None:
        """After a jump, everybody whose time has come goes on, at the time that it is then."""
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await anyio.sleep(seconds)
            woken.append(anyio.current_time())

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for seconds in (1, 2, 30):
                    tasks.start_soon(sleeper, seconds)
                await anyio.sleep(0.5)
                jump(10)
                assert anyio.current_time() == 10.5
                assert woken == []
            assert woken == [10.5, 10.5, 30]
            with pytest.raises(ValueError, match=r"-1|backwards"):
                jump(-1)

        run_in_virtual_time(main, backend=backend)

    @pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
    def test_a_jump_that_makes_no_sense(self, seconds: float) -> None:
        """Time goes on, and to some point in it."""

        async def main() -> None:
            with pytest.raises(ValueError, match="seconds must be 0 or more, and finite, got"):
                jump(seconds)
            assert anyio.current_time() == 0

        run_in_virtual_time(main)

    def test_a_jump_where_time_is_real(self) -> None:
        """It is refused, and so it is outside any event loop."""

        async def main() -> None:
            with pytest.raises(RuntimeError, match="no event loop runs here in virtual time"):
                jump(1)

        anyio.run(main)
        trio.run(main)
        with pytest.raises(RuntimeError, match="no event loop runs here in virtual time"):
            jump(1)

    @every_backend
    def test_each_run_has_its_own(self, backend: Backend) -> None:
        """Nothing is left of the run before."""

        async def main() -> None:
            assert anyio.current_time() == 0
            await anyio.sleep(1)

        for _ in range(3):
            run_in_virtual_time(main, backend=backend)

    def test_an_unknown_backend(self) -> None:
        """The error names those that there are."""
        with pytest.raises(ValueError, match="one of asyncio, uvloop, trio, got 'twisted'"):
            virtual_time("twisted")  # type: ignore[arg-type]

    @pytest.mark.parametrize("patience", [-1, math.inf, math.nan])
    @every_backend
    def test_patience_that_makes_no_sense(self, backend: Backend, patience: float) -> None:
        """It is refused where it is given."""
        with pytest.raises(ValueError, match="patience must be 0 or more, and finite, or None"):
            virtual_time(backend, patience=patience)


class TestTimers:
    """Timers of asyncio's loops."""

    @every_loop
    def test_those_of_one_instant_fire_in_the_order_of_their_making(
        self, new_loop: NewLoop
    ) -> None:
        """First come, first served, whether by a delay or by a time."""
        woken: list[int] = []

        async def sleeper(number: int) -> None:
            await asyncio.sleep(1)
            woken.append(number)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*map(sleeper, range(20)))
            for number in range(20, 30):
                loop.call_at(2, woken.append, number)
            await asyncio.sleep(1)

        run_loop(new_loop, main)
        assert woken == list(range(30))

    @every_loop
    def test_one_in_the_past_fires_at_once(self, new_loop: NewLoop) -> None:
        """Also while somebody keeps the loop busy, and time does not go back for it."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(10)
            fired = asyncio.Event()
            loop.call_at(3, fired.set)
            while not fired.is_set():  # noqa: ASYNC110  (the loop is to be busy)
                await asyncio.sleep(0)
            fired.clear()
            loop.call_later(-5, fired.set)
            await fired.wait()
            assert loop.time() == 10

        run_loop(new_loop, main)

    @every_loop
    def test_a_cancelled_one(self, new_loop: NewLoop) -> None:
        """It does not fire, not even if another of its instant cancels it; time ignores it."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(100, pytest.fail).cancel()
            loop.call_at(math.inf, pytest.fail).cancel()
            timers: list[asyncio.TimerHandle] = []
            loop.call_later(1, lambda: timers.pop().cancel())
            timers.append(loop.call_later(1, pytest.fail))
            await asyncio.sleep(2)
            assert (timers, loop.time()) == ([], 2)

        run_loop(new_loop, main)

    @every_loop
    def test_those_that_were_not_needed_are_forgotten(self, new_loop: NewLoop) -> None:
        """A long test with a timeout around every step does not keep them all."""

        async def main() -> None:
            for _ in range(1000):
                async with asyncio.timeout(DAY):
                    await asyncio.sleep(0)
                async with asyncio.timeout(1):
                    await asyncio.sleep(0.001)
            assert sum(type(thing) is clock.Timer for thing in gc.get_objects()) < 300

        run_loop(new_loop, main)

    @every_loop
    def test_one_that_raises(self, new_loop: NewLoop) -> None:
        """The loop's handler is told, and the others of that instant fire."""
        told: list[dict[str, Any]] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: told.append(context))
            fired = asyncio.Event()
            loop.call_later(1, int, "x")
            loop.call_later(1, fired.set)
            await fired.wait()

        run_loop(new_loop, main)
        assert [type(context["exception"]) for context in told] == [ValueError]

    @every_loop
    def test_one_that_ends_the_run(self, new_loop: NewLoop) -> None:
        """The loop can be run again, and has its timers."""
        with asyncio.Runner(loop_factory=new_loop) as runner:
            loop = runner.get_loop()
            loop.call_later(1, sys.exit, 3)
            with pytest.raises(SystemExit):
                runner.run(asyncio.sleep(2))
            runner.run(asyncio.sleep(2))
            assert loop.time() == 3

    @every_loop
    def test_a_closed_loop(self, new_loop: NewLoop) -> None:
        """It forgets its timers, and takes no more."""

        class Callback:
            def __call__(self) -> None: ...

        loop = new_loop()
        callback = Callback()
        loop.call_later(1, callback)
        gone = weakref.ref(callback)
        loop.close()
        del callback
        collect_garbage()
        assert gone() is None
        for call in (loop.call_later, loop.call_at):
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                call(1, print)

    @every_loop
    def test_debug_mode(self, new_loop: NewLoop) -> None:
        """The loop's own checks are made, as in real time."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(1)
            async with asyncio.timeout(5):
                await asyncio.sleep(1)
            for call in (loop.call_later, loop.call_at):
                with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
                    await asyncio.to_thread(call, 1, print)
            await asyncio.sleep(1)
            assert loop.time() == 3

        run_loop(new_loop, main, debug=True)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
    @every_loop
    def test_eager_tasks(self, new_loop: NewLoop) -> None:
        """Tasks that begin at once sleep like others."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(eager_task)
            await asyncio.gather(*(asyncio.sleep(seconds) for seconds in (3, 1, 2)))
            assert loop.time() == 3

        run_loop(new_loop, main)

    @pytest.mark.filterwarnings("ignore:.*policy.*:DeprecationWarning")
    @every_backend
    def test_an_event_loop_policy_is_not_asked(self, backend: Backend) -> None:
        """Virtual time comes with its own event loop, whatever the program has by default."""

        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                raise AssertionError

        before = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(Policy())
        try:
            run_in_virtual_time(anyio.sleep, DAY, backend=backend)
        finally:
            asyncio.set_event_loop_policy(before)


def a_moment() -> str:
    """Work in a thread for so long that the event loop has nothing to do meanwhile."""
    threading.Event().wait(0.02)
    return "fine"


async def by_asyncio(func: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(func, *args)


async def by_executor(func: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, func, *args)


WAYS = [
    (backend, in_thread)
    for backend in BACKENDS
    for in_thread in (to_thread.run_sync, by_asyncio, by_executor)
    if backend != "trio" or in_thread is to_thread.run_sync
]


@pytest.fixture
def hung() -> Iterator[Callable[[], None]]:
    """Block a thread until the test is over."""
    over = threading.Event()
    yield lambda: over.wait() and None
    over.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time wait for threads for a twentieth of a second."""
    monkeypatch.setattr(clock, "PATIENCE", 0.05)
    monkeypatch.setattr(trio_time, "PATIENCE", 0.05)


class TestThreads:
    """Time waits for worker threads, but not for ever."""

    @pytest.mark.parametrize(("backend", "in_thread"), WAYS)
    def test_none_passes_while_one_works(
        self, backend: Backend, in_thread: Callable[..., Any]
    ) -> None:
        """Timeouts around its work, and timers beside it, do not fire meanwhile."""

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 0.001)
                for _ in range(3):
                    with anyio.fail_after(0.001):
                        assert await in_thread(a_moment) == "fine"
                assert anyio.current_time() == 0
            assert anyio.current_time() == 0.001

        run_in_virtual_time(main, backend=backend)

    @pytest.mark.anyio
    async def test_under_anyios_plugin(self) -> None:
        """It runs trio as a guest of another event loop, which waits in threads itself."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0.001)
            for _ in range(3):
                with anyio.fail_after(0.001):
                    assert await to_thread.run_sync(a_moment) == "fine"
            assert anyio.current_time() == 0
        assert anyio.current_time() == 0.001
        await anyio.sleep(DAY)

    @every_backend
    @pytest.mark.usefixtures("impatient")
    def test_one_that_hangs(self, backend: Backend, hung: Callable[[], None]) -> None:
        """After a while, a timeout around it fires all the same."""

        async def main() -> None:
            with anyio.move_on_after(5):
                await to_thread.run_sync(hung, abandon_on_cancel=True)
            assert anyio.current_time() == 5

        run_in_virtual_time(main, backend=backend)

    @pytest.mark.parametrize(("backend", "in_thread"), WAYS)
    def test_one_that_hangs_is_waited_for_once(
        self,
        backend: Backend,
        in_thread: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Time goes on beside it; for another one that begins, it waits again."""
        monkeypatch.setattr(clock, "PATIENCE", 0.5)
        monkeypatch.setattr(trio_time, "PATIENCE", 0.5)
        over = threading.Event()

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(in_thread, over.wait)
                began = time.monotonic()
                for _ in range(100):
                    await anyio.sleep(1)
                assert 0.4 < time.monotonic() - began < 10
                for _ in range(3):
                    with anyio.fail_after(1):
                        await in_thread(a_moment)
                assert anyio.current_time() == 100
                over.set()

        run_in_virtual_time(main, backend=backend)

    @every_backend
    @pytest.mark.usefixtures("impatient")
    def test_one_that_waits_for_time_to_pass(self, backend: Backend) -> None:
        """It may sleep on the event loop, and time passes for that."""

        async def main() -> None:
            await to_thread.run_sync(from_thread.run, anyio.sleep, DAY)
            assert anyio.current_time() == DAY

        run_in_virtual_time(main, backend=backend)

    @every_backend
    def test_one_that_is_not_waited_for(self, backend: Backend, hung: Callable[[], None]) -> None:
        """With no patience, time does not care for threads."""

        async def main() -> None:
            began = time.monotonic()
            for _ in range(20):
                with anyio.move_on_after(5):
                    await to_thread.run_sync(hung, abandon_on_cancel=True)
            assert anyio.current_time() == 100
            assert time.monotonic() - began < 10

        run_in_virtual_time(main, backend=backend, patience=0)

    @every_backend
    def test_a_thread_of_your_own(self, backend: Backend) -> None:
        """It wakes a loop that has no timers, and with patience, time waits for it."""

        async def main() -> None:
            for timeout in (math.inf, 1):
                token = anyio.lowlevel.current_token()
                done = anyio.Event()

                def work(done: anyio.Event = done) -> None:
                    a_moment()
                    from_thread.run_sync(done.set, token=token)  # noqa: B023

                thread = threading.Thread(target=work)
                with anyio.fail_after(timeout):
                    thread.start()
                    await done.wait()
                thread.join()
            assert anyio.current_time() == 0

        run_in_virtual_time(main, backend=backend, patience=10)


class TestSocketsAndProcesses:
    """The world outside goes by real time."""

    @every_backend
    def test_without_timers_it_is_waited_for(self, backend: Backend) -> None:
        """As on any event loop."""

        async def main() -> None:
            process = await anyio.run_process([sys.executable, "-c", "print(6 * 7)"])
            assert process.stdout.strip() == b"42"
            assert anyio.current_time() == 0

        run_in_virtual_time(main, backend=backend)

    @every_backend
    def test_with_patience_its_answer_comes_before_a_timeout(self, backend: Backend) -> None:
        """Every jump waits that long for news, and each piece of news starts the wait anew."""

        def serve(server: socket.socket) -> None:
            while question := server.recv(10):
                a_moment()
                server.send(question.upper())

        async def main() -> None:
            ours, theirs = socket.socketpair()
            thread = threading.Thread(target=serve, args=(theirs,))
            thread.start()
            with theirs:
                async with await anyio.abc.SocketStream.from_socket(ours) as stream:
                    for _ in range(3):
                        with anyio.fail_after(1):
                            await stream.send(b"fine")
                            assert await stream.receive() == b"FINE"
                thread.join()
            assert anyio.current_time() == 0
            await anyio.sleep(1)
            assert anyio.current_time() == 1

        run_in_virtual_time(main, backend=backend, patience=0.5)

    @every_backend
    def test_what_is_there_already_comes_before_time_passes(self, backend: Backend) -> None:
        """Without patience, too."""

        async def main() -> None:
            ours, theirs = socket.socketpair()
            with theirs:
                async with await anyio.abc.SocketStream.from_socket(ours) as stream:
                    for _ in range(20):
                        theirs.send(b"fine")
                        with anyio.fail_after(1):
                            assert await stream.receive() == b"fine"
            assert anyio.current_time() == 0

        run_in_virtual_time(main, backend=backend)


class TestImports:
    """Nothing is imported that was not asked for."""

    @pytest.mark.parametrize(
        ("module", "absent"),
        [
            ("supervisor.testing", ("uvloop", "trio", "pytest")),
            ("pytest_circuit_supervisor", ("supervisor", "anyio", "uvloop", "trio")),
        ],
    )
    def test_what_is_not_imported(self, module: str, absent: tuple[str, ...]) -> None:
        """A library, and the package in the case of the plugin, waits until it is needed."""
        program = f"import sys, {module}; sys.exit(str({{*sys.modules}} & {{*{absent}}}))"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert done.stderr.strip() == "set()"


def test_the_fixture_of_anyios_plugin(anyio_backend: Any) -> None:
    """`virtual_time` returns what `anyio.run` and the fixture `anyio_backend` take."""
    name, options = anyio_backend
    assert anyio.run(partial(anyio.sleep, DAY), backend=name, backend_options=options) is None


@every_loop
def test_a_paused_loop(new_loop: NewLoop) -> None:
    """Its time stands still until it runs again."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.get_loop()
        loop.call_later(3, lambda: None)
        runner.run(asyncio.sleep(1))
        assert loop.time() == 1
        runner.run(asyncio.sleep(1))
        runner.run(asyncio.sleep(5))
        assert loop.time() == 7


def test_a_coroutine_in_the_place_of_its_function() -> None:
    """The error says which of the two to pass, and nothing is left that was never awaited."""

    async def main() -> None:
        """Would run."""

    with pytest.raises(TypeError, match=r"async function, got a coroutine: pass main, not main"):
        run_in_virtual_time(main())  # type: ignore[arg-type]
