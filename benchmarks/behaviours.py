"""What circuit breakers do when calls overlap, are cancelled, or end late: executed, not claimed.

    python -m benchmarks.behaviours [NAME ...]

Each cell is one or more experiments with circuits of their own that open at two failures, in an
event loop of its own. What a circuit does is seen from outside only, by whether calls reach the
function. Warnings and log lines of the contestants are silenced.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import gc
import inspect
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from benchmarks.contestants import Contestant, Guard, Setup, contestants

RECOVERY = 0.1  # seconds
LONGER = 1.5 * RECOVERY
BRIEFLY = 0.05  # what a call may take to reach a function that is free
FOREVER = 1000.0
NEVER = "closed before its probe ends"


class BackendError(Exception):
    """What the guarded function fails with."""


class Call:
    """A call under way: it stays in the function until it is told how to end."""

    def __init__(self, guard: Guard) -> None:
        self.entered = asyncio.Event()
        self.end: asyncio.Future[BackendError | None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self.run(guard))

    async def run(self, guard: Guard) -> Any:
        """Make the call; in a coroutine, since some guards return futures of their own."""
        return await guard(self.function)

    async def function(self) -> None:
        """Stand for the backend."""
        self.entered.set()
        error = await self.end
        if error is not None:
            raise error

    async def finish(self, error: BackendError | None = None) -> None:
        """Let the function return or fail, and wait for the guard."""
        if not self.end.done():
            self.end.set_result(error)
        await asyncio.wait([self.task], timeout=1.0)
        if self.task.done() and not self.task.cancelled():
            self.task.exception()  # seen, so that asyncio does not complain

    async def cancel(self) -> None:
        """Cancel the call from outside."""
        self.task.cancel()
        await asyncio.wait([self.task], timeout=1.0)


class Circuit:
    """One circuit of a contestant, and what can be seen of it."""

    def __init__(
        self, guard: Guard, recovery: float, refusals: tuple[type[BaseException], ...]
    ) -> None:
        self.guard = guard
        self.recovery = recovery
        self.refusals = refusals

    async def start(self) -> Call:
        """Start a call that reaches the function, or raise."""
        call = Call(self.guard)
        await asyncio.wait(
            [call.task, asyncio.ensure_future(call.entered.wait())],
            timeout=1.0,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not call.entered.is_set():
            raise RuntimeError("a call that should have begun did not reach the function")
        return call

    async def attempt(self, error: BackendError | None = None) -> str:
        """Make a call that ends at once: "reached", "refused", or "waits" for its turn."""
        call = Call(self.guard)
        call.end.set_result(error)
        entered = asyncio.ensure_future(call.entered.wait())
        await asyncio.wait(
            [call.task, entered], timeout=BRIEFLY, return_when=asyncio.FIRST_COMPLETED
        )
        outcome = "reached" if call.entered.is_set() else "refused"
        if outcome == "refused" and not call.task.done():
            outcome = "waits"
            await call.cancel()
        entered.cancel()
        await call.finish()
        return outcome

    async def fail(self, times: int = 1) -> None:
        """Make calls that fail."""
        for _ in range(times):
            await self.attempt(BackendError())

    async def open(self) -> None:
        """Bring the closed circuit to open."""
        await self.fail(2)
        outcome = await self.attempt()
        if outcome != "refused":
            raise RuntimeError(f"after two failures, a call {outcome}")

    async def probe(self) -> Call:
        """Bring the closed circuit to half-open, with a probe under way."""
        await self.open()
        await asyncio.sleep(1.2 * self.recovery)
        return await self.start()


Open = Callable[..., contextlib.AbstractAsyncContextManager[Circuit]]
Experiment = Callable[[Open], Coroutine[Any, Any, str]]


async def is_ever_half_open(opened: Open) -> bool:
    """Whether a probe under way leaves the circuit half-open, so that one failure opens it."""
    async with opened() as circuit:
        probe = await circuit.probe()
        first = await circuit.attempt(BackendError())
        closed = first == "reached" and await circuit.attempt() == "reached"
        await probe.finish()
        return not closed


async def herd(opened: Open) -> str:
    """How many of 100 callers reach the function while one probe is allowed?"""
    async with opened() as circuit:
        await circuit.open()
        await asyncio.sleep(1.2 * circuit.recovery)
        calls = [Call(circuit.guard) for _ in range(100)]
        await asyncio.sleep(2 * BRIEFLY)
        reached = sum(call.entered.is_set() for call in calls)
        waiting = sum(not (call.entered.is_set() or call.task.done()) for call in calls)
        for call in calls:
            await call.cancel()
        return f"{reached} of 100" + (f", {waiting} wait" if waiting else "")


async def cancelled_probe(opened: Open) -> str:
    """What becomes of the circuit when its probe is cancelled?"""
    if not await is_ever_half_open(opened):
        return NEVER
    async with opened() as circuit:
        await (await circuit.probe()).cancel()
        first = await circuit.attempt(BackendError())  # which opens a half-open circuit again
        if first == "reached":
            second = await circuit.attempt()
            return "recovers" if second == "refused" else "closes the circuit"
        await asyncio.sleep(LONGER)
        if await circuit.attempt() == "reached":
            return "opens the circuit"
        await asyncio.sleep(4 * LONGER)
        return "late" if await circuit.attempt() == "reached" else f"slot leaked: {first} for ever"


async def stale_failure_half_open(opened: Open) -> str:
    """Does a call that began while closed open the half-open circuit by failing?"""
    if not await is_ever_half_open(opened):
        return NEVER
    async with opened() as circuit:
        stale = await circuit.start()
        probe = await circuit.probe()
        await stale.finish(BackendError())
        outcome = "ignored"
        if await circuit.attempt() == "refused":  # open again, or no more room for probes?
            await asyncio.sleep(LONGER)
            if await circuit.attempt() == "reached":
                outcome = "opens it again"
        await probe.finish()
        return outcome


async def stale_failure_open(opened: Open) -> str:
    """Does a call that began while closed extend the open circuit's time by failing?"""
    async with opened(2 * RECOVERY) as circuit:
        stale = await circuit.start()
        await circuit.open()
        await asyncio.sleep(1.2 * RECOVERY)
        await stale.finish(BackendError())
        await asyncio.sleep(1.2 * RECOVERY)
        return "ignored" if await circuit.attempt() == "reached" else "extends it"


async def stale_failure_closed(opened: Open) -> str:
    """Does a failure of a call that began before count in the next closed period?"""
    async with opened() as circuit:
        stale = await circuit.start()
        await (await circuit.probe()).finish()
        await stale.finish(BackendError())
        await circuit.fail()
        return "ignored" if await circuit.attempt() == "reached" else "counted"


async def stale_success(opened: Open) -> str:
    """Does a call that began while closed close the circuit by succeeding late?"""
    closes = []
    half_open = await is_ever_half_open(opened)
    async with opened() as circuit:
        stale = await circuit.start()
        probe = await circuit.probe()
        await stale.finish()
        first = await circuit.attempt(BackendError())  # which opens a half-open circuit again
        if half_open and first == "reached" and await circuit.attempt() == "reached":
            closes.append("half-open")
        await probe.finish()
    async with opened() as circuit:
        stale = await circuit.start()
        await circuit.open()
        await stale.finish()
        if await circuit.attempt() == "reached":
            closes.append("open")
    outcome = f"closes it: {', '.join(closes)}" if closes else "ignored"
    return outcome if half_open else f"{outcome}; {NEVER}"


async def cancellation(opened: Open) -> str:
    """Does a cancelled call count, as what?"""
    async with opened() as circuit:
        for _ in range(2):
            await (await circuit.start()).cancel()
        if await circuit.attempt() != "reached":
            return "as a failure"
    async with opened() as circuit:
        await circuit.fail()
        await (await circuit.start()).cancel()
        await circuit.fail()
        return "no" if await circuit.attempt() == "refused" else "as a success"


async def raising_listener(opened: Open) -> str:
    """Which calls does a listener break that raises?"""
    heard = 0

    def listener(*_args: Any, **_kwargs: Any) -> None:
        nonlocal heard
        heard += 1
        raise ZeroDivisionError

    broken = []

    async def expect(what: str, circuit: Circuit, error: BackendError | None) -> None:
        call = Call(circuit.guard)
        await call.finish(error)
        raised = call.task.exception()
        if isinstance(raised, ZeroDivisionError) or (error is None and raised is not None):
            broken.append(what)

    async with opened(listener=listener) as circuit:
        await expect("success", circuit, None)
    async with opened(listener=listener) as circuit:
        await expect("failure", circuit, BackendError())
        await expect("opening", circuit, BackendError())
        refused = await circuit.attempt() == "refused"
        await asyncio.sleep(1.2 * circuit.recovery)
        await expect("probe", circuit, None)
        await asyncio.sleep(0)
    if not refused:
        broken.append("stays closed")
    if not heard:
        return "never called"
    return f"breaks: {', '.join(broken)}" if broken else "harmless"


async def runs(opened: Open) -> None:
    """Let circuits open, refuse and recover among callers who compete; on any backend."""
    done = 0

    async def succeed() -> None:
        nonlocal done
        await anyio.lowlevel.checkpoint()
        done += 1

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise BackendError

    async def compete(circuit: Circuit) -> None:
        with contextlib.suppress(circuit.refusals):
            await circuit.guard(succeed)

    with anyio.fail_after(2.0):
        async with opened() as circuit, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(circuit.guard, succeed)
        async with opened() as circuit:
            for _ in range(2):
                with contextlib.suppress(BackendError, *circuit.refusals):
                    await circuit.guard(fail)
            with contextlib.suppress(circuit.refusals):
                await circuit.guard(succeed)
            await anyio.sleep(1.2 * circuit.recovery)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(compete, circuit)
            await circuit.guard(succeed)
    if done < 22:
        raise RuntimeError(f"only {done} calls reached the function")


COLUMNS: dict[str, Experiment] = {
    "herd at half-open": herd,
    "cancelled probe": cancelled_probe,
    "stale failure, half-open": stale_failure_half_open,
    "stale failure, open": stale_failure_open,
    "stale failure, next closed": stale_failure_closed,
    "stale success": stale_success,
    "cancellation counted": cancellation,
    "raising listener": raising_listener,
}


def opener(contestant: Contestant) -> Open:
    """Return what starts circuits of that contestant that open at two failures."""

    @contextlib.asynccontextmanager
    async def opened(
        recovery: float = RECOVERY, listener: Callable[..., Any] | None = None
    ) -> AsyncIterator[Circuit]:
        more = {"listener": listener} if listener else {}
        setup = Setup(failure_threshold=2, recovery_timeout=recovery)
        async with contestant.open(setup, **more) as guard:
            yield Circuit(guard, recovery, contestant.refusals)

    return opened


def describe(error: BaseException) -> str:
    """Return an error as the text of a cell."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = f"{type(error).__name__}: {error}".splitlines()[0].replace("|", "/").rstrip(": ")
    return text if len(text) <= 60 else f"{text[:59]}…"


def cell(contestant: Contestant, column: str) -> str:
    """Run one experiment with one contestant."""
    takes_listener = "listener" in inspect.signature(contestant.open).parameters
    if column == "raising listener" and not takes_listener:
        return "–"  # noqa: RUF001  # no such thing
    try:
        return asyncio.run(COLUMNS[column](opener(contestant)))
    except Exception as error:
        return f"error: {describe(error)}"


def on_trio(contestant: Contestant) -> str:
    """Does it run on trio?"""
    try:
        anyio.run(runs, opener(contestant), backend="trio")
    except Exception as error:
        return f"no: {describe(error)}"
    return "yes"


class Clocks:
    """The clocks of this process, which can be put forward from `install` on.

    What has taken a clock's function before keeps the true one, so `install` has to come before
    the contestants are imported.
    """

    def __init__(self) -> None:
        self.ahead = {"wall": 0.0, "monotonic": 0.0}

    def install(self) -> None:
        """Replace the functions of `time`, and `datetime.datetime`."""
        ahead = self.ahead

        def shifted(clock: Callable[[], Any], kind: str, unit: float) -> Callable[[], Any]:
            return lambda: clock() + type(clock())(ahead[kind] * unit)

        for name, kind in (
            ("time", "wall"),
            ("monotonic", "monotonic"),
            ("perf_counter", "monotonic"),
        ):
            setattr(time, name, shifted(getattr(time, name), kind, 1))
            setattr(time, f"{name}_ns", shifted(getattr(time, f"{name}_ns"), kind, 1e9))

        class ShiftedDatetime(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> ShiftedDatetime:
                return super().now(tz) + datetime.timedelta(seconds=ahead["wall"])

            @classmethod
            def utcnow(cls) -> ShiftedDatetime:
                return super().utcnow() + datetime.timedelta(seconds=ahead["wall"])

        datetime.datetime = ShiftedDatetime  # type: ignore[misc]

    async def moves(self, opened: Open, kind: str) -> bool:
        """Whether an open circuit lets a call through once that clock is put forward."""
        async with opened(FOREVER) as circuit:
            await circuit.open()
            self.ahead[kind] = 2 * FOREVER
            try:
                return await circuit.attempt() == "reached"
            finally:
                self.ahead[kind] = 0.0

    def read_by(self, contestant: Contestant) -> str:
        """Return the clock that this contestant reads."""
        try:
            kinds = [
                kind for kind in self.ahead if asyncio.run(self.moves(opener(contestant), kind))
            ]
        except Exception as error:
            return f"error: {describe(error)}"
        return " and ".join(kinds) or "neither"


def clocks_in_new_process(names: Iterable[str]) -> dict[str, str]:
    """Return the clocks that these contestants read; see `Clocks` for why another process."""
    command = [sys.executable, "-m", "benchmarks.behaviours", "--clocks", *names]
    root = Path(__file__).parents[1]
    child = subprocess.run(  # noqa: S603  # this very module
        command, capture_output=True, text=True, check=False, cwd=root
    )
    if child.returncode:
        reason = child.stderr.strip().splitlines()[-1:] or ["no reason given"]
        return dict.fromkeys(names, f"error: {reason[0]}")
    return json.loads(child.stdout)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the contestants' warnings and log lines from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
            gc.collect()  # coroutines that nobody awaited complain only now
        finally:
            logging.disable(before)


def behaviours(names: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """Return the table, rows by contestant: of `names`, or of our `call` and all peers.

    It takes some 6 s, and cannot be called where an event loop runs.

    Raises:
        KeyError: one of `names` is unknown or not installed.
    """
    known = contestants()
    if names is None:
        names = [one.name for one in known.values() if one.name == "call" or one.kind == "peer"]
    chosen = [known[name] for name in names]
    with silence(), ThreadPoolExecutor(4) as pool:
        clocks = pool.submit(clocks_in_new_process, [one.name for one in chosen])
        rows = {
            one.name: {
                **{column: pool.submit(cell, one, column) for column in COLUMNS},
                "clock": pool.submit(lambda name: clocks.result()[name], one.name),
            }
            for one in chosen
        }
        trio = {one.name: on_trio(one) for one in chosen}  # in the main thread, as users would
        return {
            name: {column: future.result() for column, future in row.items()}
            | {"runs on trio": trio[name]}
            for name, row in rows.items()
        }


def as_markdown(table: dict[str, dict[str, str]]) -> str:
    """Return the table in Markdown."""
    columns = list(next(iter(table.values()), {}))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *row.values()] for name, row in table.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the table, or, in the process started for it, the clocks."""
    parser = argparse.ArgumentParser(prog="benchmarks.behaviours", description=__doc__)
    parser.add_argument("names", nargs="*", help="contestants; default: call and all peers")
    parser.add_argument("--clocks", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clocks:
        clocks = Clocks()
        clocks.install()
        with silence():
            known = contestants()
            print(json.dumps({name: clocks.read_by(known[name]) for name in options.names}))
    else:
        print(as_markdown(behaviours(options.names or None)))


if __name__ == "__main__":
    main()
