"""Traces of calls as they come and end: what is written down, and what no fault of a disk does."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreakerOpenError,
    CircuitStoppedError,
    Failure,
    Outcome,
    Supervisor,
    TraceRecorder,
)
from supervisor.instrumentation import rotation, traces, use_logging
from supervisor.recording import HEADER, Call, read_trace
from supervisor.testing import run_in_virtual_time
from tests.support.logs import Records, handled_by
from tests.support.worlds import (
    Down,
    Guarded,
    every_way_and_thread,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
    take,
    until,
)

pytestmark = pytest.mark.anyio

FILE = Path("calls.csv")
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
IGNORED, CANCELLED = Outcome.IGNORED, Outcome.CANCELLED


@pytest.fixture
def recorder() -> Iterator[TraceRecorder]:
    with TraceRecorder(FILE) as recorder:
        yield recorder


@pytest.fixture
def lines() -> Iterator[Records]:
    use_logging()
    with handled_by(Records()) as lines:
        yield lines


def absolute(file: Path) -> str:
    return str(file.absolute())


def texts(lines: Records) -> list[str]:
    """What has been logged of traces, without their path."""
    own = [record for record in lines.records if hasattr(record, "trace")]
    return [record.getMessage().replace(absolute(FILE), FILE.name) for record in own]


def calls_in(*files: Path) -> tuple[Call, ...]:
    return read_trace(*files).calls


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def told(recorder: TraceRecorder) -> list[tuple[Outcome | None, float]]:
    """How the calls have ended, and how long they took, in the order of their asking."""
    recorder.close()
    assert recorder.dropped == 0
    calls = calls_in(FILE)
    assert recorder.written == len(calls)
    return [(call.outcome, round(call.duration, 6)) for call in calls]


# What is written


async def test_each_call(recorder: TraceRecorder) -> None:
    """When it asked, by the wall clock; its circuit, end, duration and kind; no texts."""

    def judge(ended_with: object) -> Failure | Outcome | None:
        if isinstance(ended_with, LookupError):
            return Failure("not there", weight=2, retry_after=4.0)
        return IGNORED if isinstance(ended_with, ValueError) else None

    async def raise_later(error: Exception) -> None:
        await anyio.sleep(0.5)
        raise error

    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        search = supervisor.circuit("search", classify=judge, failure_threshold=9)
        await search.call(take, 0.25)
        for error in (Down("a secret"), ValueError("a secret"), LookupError("a secret")):
            await anyio.sleep(1)
            with pytest.raises(type(error)):
                await search.call(raise_later, error)
        with pytest.raises(CircuitBreakerOpenError):
            await search.call(succeed)
    recorder.close()
    trace = read_trace(FILE)
    assert trace.calls[1].at - trace.calls[0].at == pytest.approx(1.25, abs=1e-5)
    assert [(call.outcome, round(call.duration, 6)) for call in trace.calls] == [
        (SUCCEEDED, 0.25),
        (FAILED, 0.5),
        (IGNORED, 0.5),
        (FAILED, 0.5),
        (None, 0.0),
    ]
    assert trace.calls[3].failure == Failure("not there", weight=2, retry_after=4.0)
    assert trace.calls[4].reason == "open"
    assert {call.circuit for call in trace.calls} == {"search"}
    assert "secret" not in text_of(FILE)
    assert trace.since is not None


@every_way_and_thread
async def test_every_way_into_a_guard(guarded: Guarded, recorder: TraceRecorder) -> None:
    """One call is one line, however it is made."""
    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        breaker = supervisor.circuit("x", failure_threshold=2)
        await guarded(breaker, succeed)
        for _ in range(2):
            with pytest.raises(Down):
                await guarded(breaker, fail)
        with pytest.raises(CircuitBreakerOpenError):
            await guarded(breaker, succeed)
        figures = breaker.statistics()
    assert [outcome for outcome, _ in told(recorder)] == [SUCCEEDED, FAILED, FAILED, None]
    assert (figures.succeeded, figures.failed, figures.rejected) == (1, 2, 1)


async def test_every_refusal_has_its_reason(recorder: TraceRecorder) -> None:
    """Those that the lease refuses, and those that the actor does."""
    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        x = supervisor.circuit("x", failure_threshold=1, recovery_timeout=5)
        await fail_times(x, 1)
        assert await is_refused(x)
        await settle_down()
        assert await is_refused(x)
        await anyio.sleep(5)
        permit = await x.acquire()
        assert await is_refused(x)
        await settle_down()
        assert await is_refused(x)
        permit.succeed()
        x.force_open()
        assert await is_refused(x)
        x.release()
        await x.call(succeed)
        supervisor.stop("x")
        with pytest.raises(CircuitStoppedError):
            await x.call(succeed)
    recorder.close()
    reasons = ["open", "open", "half_open", "half_open", "forced_open", "stopped"]
    assert [call.reason for call in calls_in(FILE) if call.outcome is None] == reasons


async def test_retries_and_waits(recorder: TraceRecorder) -> None:
    """A call says that it is a retry; how long it would have waited, and how long it has."""
    async with half_open("x", recovery_timeout=5.0) as breaker:
        supervisor = current(breaker)
        supervisor.trace(recorder)
        await settle_down()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(breaker.call, take, 2.0))
            await anyio.sleep(0.5)
            tasks.start_soon(partial(breaker.waiting(9).call, succeed))
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.retry(succeed)
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.acquire(wait=0.25)
        await breaker.retry(succeed)
        (await breaker.acquire(wait=3)).ignore()
    recorder.close()
    calls = [(c.outcome, c.retry, c.wait, round(c.waited, 6)) for c in calls_in(FILE)]
    assert calls[0] == (SUCCEEDED, False, None, 0.0)
    assert sorted(calls[1:4], key=str) == [
        (SUCCEEDED, False, 9.0, 1.5),
        (None, False, 0.25, 0.0),
        (None, True, None, 0.0),
    ]
    assert calls[4:] == [(SUCCEEDED, True, None, 0.0), (IGNORED, False, 3.0, 0.0)]


def current(breaker: object) -> Supervisor:
    from supervisor import current_supervisor

    found = current_supervisor()
    assert "x" in found
    assert breaker is not None
    return found


async def test_calls_that_are_cancelled(
    recorder: TraceRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they run; while they wait, so that they have not begun; while they ask."""
    monkeypatch.setattr("supervisor.circuit.asking.ANSWERED_AT_ONCE", 1)  # each asks the actor
    async with half_open("x", recovery_timeout=5.0) as breaker:
        current(breaker).trace(recorder)
        await settle_down()
        with anyio.move_on_after(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(breaker.call, anyio.sleep_forever)
                await anyio.sleep(0.5)
                await breaker.waiting(60).call(succeed)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await breaker.call(succeed)
        await breaker.call(succeed)
    assert told(recorder) == [(CANCELLED, 2.0), (CANCELLED, 0.0), (CANCELLED, 0.0), (SUCCEEDED, 0)]
    assert [call.wait for call in calls_in(FILE)] == [None, 1.5, None, None]


async def test_slow_calls_and_streams(recorder: TraceRecorder) -> None:
    """What the policy makes of a call is not in the trace: a slow one has succeeded, or not."""

    async def items() -> AsyncIterator[int]:
        for number in range(3):
            await anyio.sleep(0.5)
            yield number

    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        breaker = supervisor.circuit("x", failure_threshold=9, slow_call_duration=1.0)
        await breaker.call(take, 2.0)
        async with breaker.stream(items) as stream:
            assert [item async for item in stream] == [0, 1, 2]
        figures = breaker.statistics()
    assert (figures.succeeded, figures.failed) == (1, 1)  # the stream's time was over at once
    assert told(recorder) == [(SUCCEEDED, 2.0), (SUCCEEDED, 1.5)]


async def test_calls_inside_a_call(recorder: TraceRecorder) -> None:
    """They are written as they are counted: what fails in both fails once."""
    async with half_open("x", recovery_timeout=5.0) as breaker:
        current(breaker).trace(recorder)
        await settle_down()
        await breaker.call(breaker.call, succeed)  # a probe, and a part of it
        with pytest.raises(Down):
            await breaker.call(breaker.call, fail)
    # In virtual time, both ask at once; the inner one ends first.
    assert [outcome for outcome, _ in told(recorder)] == [SUCCEEDED, FAILED, IGNORED]


# What is traced


async def test_one_circuit_only(recorder: TraceRecorder) -> None:
    """By name, also before there is such a circuit, and when another one of that name follows."""
    async with Supervisor() as supervisor:
        supervisor.trace(recorder, "x")
        for name in ("x", "y", "x"):
            await supervisor.circuit(name).call(succeed)
            supervisor.stop(name)
        figures = supervisor.figures()
    assert figures is not None
    assert len(told(recorder)) == 2


async def test_another_recorder_and_none() -> None:
    """The last word counts; a circuit that is traced no more takes the shortest path again."""
    with TraceRecorder("a.csv") as a, TraceRecorder("b.csv") as b:
        async with Supervisor() as supervisor:
            x, y = supervisor.circuit("x"), supervisor.circuit("y")
            supervisor.trace(a)
            await settle_down()
            await x.call(succeed)
            async with x:  # which began by the first one
                supervisor.trace(b, "x")
            await x.call(succeed)
            await y.call(succeed)
            supervisor.trace(None)
            await settle_down()
            circuit = supervisor.find("x")
            assert circuit is not None
            assert circuit.headroom == 3
            await x.call(succeed)
            assert circuit.unsent_successes == 1
    assert [call.circuit for call in calls_in(Path("a.csv"))] == ["x", "y"]
    assert [call.circuit for call in calls_in(Path("b.csv"))] == ["x", "x"]


async def test_no_recorder_costs_nothing() -> None:
    """A circuit that is not traced goes by its lease alone, as ever."""
    async with Supervisor() as supervisor:
        supervisor.trace(None)
        breaker = supervisor.circuit("x")
        await breaker.call(succeed)
        await settle_down()
        circuit = supervisor.find("x")
        assert circuit is not None
        assert circuit.allowance is None


async def test_what_cannot_be_traced(recorder: TraceRecorder) -> None:
    """Errors name the argument, or the thread."""
    async with Supervisor() as supervisor:
        supervisor.circuit("x")
        with pytest.raises(TypeError, match="recorder must be a TraceRecorder, got"):
            supervisor.trace("calls.csv")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="a circuit's name must have 1 to 255"):
            supervisor.trace(recorder, "")
        with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
            await anyio.to_thread.run_sync(supervisor.trace, recorder)
        await supervisor["x"].call(succeed)
    recorder.close()
    assert recorder.written == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"max_bytes": 9_999}, "max_bytes must be at least 10000, got 9999"),
        ({"max_bytes": 1e6}, "max_bytes must be a whole number, got 1000000.0"),
        ({"files": 0}, "files must be at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], complaint: str) -> None:
    """They are told by name and value, and no file is made."""
    with pytest.raises((TypeError, ValueError), match=complaint):
        TraceRecorder(FILE, **arguments)
    assert not FILE.exists()


async def test_policies_that_change(recorder: TraceRecorder) -> None:
    """A circuit is traced whatever policy it goes by."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        supervisor.trace(recorder)
        await breaker.call(succeed)
        breaker.reconfigure(window_seconds=10, failure_rate=0.5)
        await breaker.call(succeed)
        breaker.reconfigure(slow_call_duration=1)
        await breaker.call(succeed)
    assert len(told(recorder)) == 3


# Event loops, threads and processes


def test_several_event_loops_at_once() -> None:
    """All their calls are in one file."""

    async def make_calls(name: str) -> None:
        async with Supervisor() as supervisor:
            supervisor.trace(recorder)
            breaker = supervisor.circuit(name)
            for _ in range(200):
                await breaker.call(succeed)

    with TraceRecorder(FILE) as recorder:
        loops = [
            threading.Thread(target=run, args=(partial(make_calls, name),))
            for name, run in (("a", anyio.run), ("b", anyio.run), ("c", run_trio))
        ]
        for loop in loops:
            loop.start()
        for loop in loops:
            loop.join()
    calls = calls_in(FILE)
    assert {name: sum(call.circuit == name for call in calls) for name in "abc"} == {
        "a": 200,
        "b": 200,
        "c": 200,
    }


def run_trio(main: Callable[[], Any]) -> None:
    anyio.run(main, backend="trio")


def test_what_ends_when_its_event_loop_has() -> None:
    """Nobody knows the time of it, so it is in no trace; that is no error."""

    async def main() -> Any:
        supervisor = Supervisor()
        async with supervisor:
            supervisor.trace(recorder)
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            return breaker, await breaker.acquire()

    async def call_again(breaker: Any) -> None:
        with pytest.raises(CircuitStoppedError):
            await breaker.call(succeed)

    with TraceRecorder(FILE) as recorder:
        breaker, permit = asyncio.run(main())
        permit.succeed()
        asyncio.run(call_again(breaker))
    assert len(calls_in(FILE)) == 1


PROGRAM = """
import os, sys, time
import anyio
from supervisor import Supervisor, TraceRecorder

async def succeed():
    pass

async def main(name, recorder):
    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        await supervisor.circuit(name).call(succeed)

"""


def run_program(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + text],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_that_ends_without_closing() -> None:
    """What still waits is written."""
    run_program("anyio.run(main, 'x', TraceRecorder('calls.csv'))")
    assert [call.circuit for call in calls_in(FILE)] == ["x"]


def test_a_process_that_is_forked() -> None:
    """The child goes on in the same file, by a thread of its own; nothing is written twice."""
    run_program(
        "recorder = TraceRecorder('calls.csv')\n"
        "anyio.run(main, 'before', recorder)\n"
        "child = os.fork()\n"
        "anyio.run(main, 'parent' if child else 'child', recorder)\n"
        "recorder.close()\n"
        "assert recorder.written == (2 if child else 1), recorder.written\n"
        "if child:\n"
        "    sys.exit(os.waitpid(child, 0)[1])\n"
        "os._exit(0)\n"
    )
    assert sorted(call.circuit for call in calls_in(FILE)) == ["before", "child", "parent"]


def test_a_forked_process_begins_anew() -> None:
    """What the parent has waiting is the parent's, and so is its thread."""
    with TraceRecorder(FILE) as recorder:
        traces._after_fork()  # pyright: ignore[reportPrivateUsage]
        anyio.run(make_calls, recorder, 1)
    assert recorder.written == len(calls_in(FILE)) == 1


# Files


async def make_calls(recorder: TraceRecorder, count: int, name: str = "x") -> None:
    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        breaker = supervisor.circuit(name)
        for _ in range(count):
            await breaker.call(succeed)


def sizes() -> dict[str, int]:
    return {path.name: path.stat().st_size for path in Path().glob("calls.csv*")}


@pytest.mark.parametrize("name", ["x", "ü" * 255, '"' * 255])
def test_files_are_bounded(name: str) -> None:
    """In bytes, and in number; each is a trace by itself, and the oldest calls are forgotten."""
    with TraceRecorder(FILE, max_bytes=10_000, files=3) as recorder:
        anyio.run(make_calls, recorder, 2_000, name)
    assert (recorder.written, recorder.dropped) == (2_000, 0)
    assert sizes().keys() == {"calls.csv", "calls.csv.1", "calls.csv.2"}
    assert max(sizes().values()) <= 10_000
    assert min(sizes()["calls.csv.1"], sizes()["calls.csv.2"]) > 8_000
    newest, older, oldest = (
        [call.at for call in read_trace(Path(f"calls.csv{end}")).calls] for end in ("", ".1", ".2")
    )
    assert [*oldest, *older, *newest]
    for path in ("calls.csv", "calls.csv.1", "calls.csv.2"):
        assert Path(path).read_text(encoding="utf-8").startswith(HEADER)
    times = [float(line.split(",")[0]) for end in (".2", ".1", "") for line in lines_in(end)]
    assert times == sorted(times)


def lines_in(end: str) -> list[str]:
    return Path(f"calls.csv{end}").read_text(encoding="utf-8").splitlines()[1:]


async def test_a_file_that_is_full_to_the_last_byte() -> None:
    """The next call begins another one."""
    with TraceRecorder(FILE) as recorder:
        await make_calls(recorder, 400)
    with TraceRecorder(FILE, max_bytes=sizes()["calls.csv"]) as recorder:
        await make_calls(recorder, 1)
    assert (len(calls_in(Path("calls.csv.1"))), len(calls_in(FILE))) == (400, 1)


async def test_one_file_only() -> None:
    """It begins anew when it is full."""
    with TraceRecorder(FILE, max_bytes=10_000, files=1) as recorder:
        await make_calls(recorder, 1_000)
    assert recorder.written == 1_000
    assert sizes().keys() == {"calls.csv"}
    assert 0 < sizes()["calls.csv"] <= 10_000
    assert calls_in(FILE)


def test_a_file_that_is_there_is_gone_on_with() -> None:
    """Whatever was cut off at its end, by a crash, is taken out."""
    for _ in range(2):
        with TraceRecorder(FILE) as recorder:
            anyio.run(make_calls, recorder, 2)
    whole = FILE.read_bytes()
    for cut in (whole[:-3], whole + b"1760000000," + b"9" * 10_000):
        FILE.write_bytes(cut)
        with TraceRecorder(FILE) as recorder:
            anyio.run(make_calls, recorder, 1)
        assert len(calls_in(FILE)) == 4 + (cut > whole)
    FILE.write_text(HEADER[:20])
    with TraceRecorder(FILE) as recorder:
        anyio.run(make_calls, recorder, 1)
    assert len(calls_in(FILE)) == 1


def test_the_file_of_another_version() -> None:
    """Its columns are others, so it is not gone on with; it is as good as full."""
    FILE.write_text("at,outcome,duration\n1,failed,0.5\n")
    with TraceRecorder(FILE) as recorder:
        anyio.run(make_calls, recorder, 1)
    assert len(calls_in(FILE)) == 1
    assert Path("calls.csv.1").read_text() == "at,outcome,duration\n1,failed,0.5\n"


def test_a_file_that_is_no_trace() -> None:
    """It is left alone; so is what cannot be opened."""
    FILE.write_text("the diary of somebody\n")
    with pytest.raises(FileExistsError, match=r"calls.csv is there already, and is no trace$"):
        TraceRecorder(FILE)
    assert FILE.read_text() == "the diary of somebody\n"
    with pytest.raises(FileNotFoundError):
        TraceRecorder("no/where.csv")
    with pytest.raises(IsADirectoryError):
        TraceRecorder(Path.cwd())


# Faults of the disk


def make_folder(file: Path) -> None:
    file.parent.mkdir()


def remove_folder(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


async def test_a_directory_that_vanishes(lines: Records) -> None:
    """It is logged once; calls go on, and so does the trace when the directory is back."""
    file = Path(absolute(Path("traces/calls.csv")))
    make_folder(file)
    with TraceRecorder(file) as recorder:
        async with Supervisor() as supervisor:
            supervisor.trace(recorder)
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            await until(lambda: recorder.written == 1)
            remove_folder(file)
            for count in (1, 2):
                await breaker.call(succeed)
                await until(lambda count=count: recorder.dropped == count)
            make_folder(file)
            await breaker.call(succeed)
            await until(lambda: recorder.written == 2)
            assert breaker.statistics().succeeded == 4
    logged = [text.partition(": ")[2] for text in texts(lines)]
    fault = f"FileNotFoundError: [Errno 2] No such file or directory: {str(file)!r}"
    assert logged == [f"calls cannot be written, {fault}", "calls that are missing in it: 2"]
    assert [record.levelno for record in lines.records if hasattr(record, "trace")] == [
        logging.ERROR,
        logging.WARNING,
    ]
    assert len(calls_in(file)) == 1


class FullDisk(FileIO):
    """Has room for so many bytes."""

    room = 10_000_000

    def write(self, text: Any) -> int:
        if not FullDisk.room:
            raise OSError(28, "No space left on device")
        taken = bytes(text)[: FullDisk.room]
        FullDisk.room -= len(taken)
        return super().write(taken)


async def test_a_disk_that_is_full(lines: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is left half-written; what there was no room for is counted."""
    monkeypatch.setattr(rotation, "FileIO", FullDisk)
    monkeypatch.setattr(FullDisk, "room", 10_000)
    with TraceRecorder(FILE) as recorder:
        await make_calls(recorder, 300)
    assert recorder.written + recorder.dropped == 300
    assert recorder.dropped > 0
    assert len(calls_in(FILE)) == recorder.written
    assert texts(lines) == [
        "trace calls.csv: calls cannot be written, OSError: [Errno 28] No space left on device",
        f"trace calls.csv: calls that are missing in it: {recorder.dropped}",
    ]


async def test_a_disk_that_is_full_from_the_second_file_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has been written of a batch counts as written."""
    monkeypatch.setattr(rotation, "FileIO", FullDisk)
    monkeypatch.setattr(FullDisk, "room", 10_050)
    monkeypatch.setattr(traces, "TOGETHER", 60.0)
    with TraceRecorder(FILE, max_bytes=10_000) as recorder:
        await make_calls(recorder, 300)
    assert recorder.written == len(calls_in(Path("calls.csv.1")))
    assert recorder.dropped == 300 - recorder.written > 0


async def test_a_disk_that_hangs(lines: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait for it for longer than a moment, and says so."""
    let_go = threading.Event()

    class Hanging(FileIO):
        def write(self, text: Any) -> int:
            if b"x" in bytes(text).split(b"\n")[-2]:
                let_go.wait(60)
            return super().write(text)

    monkeypatch.setattr(rotation, "FileIO", Hanging)
    monkeypatch.setattr(traces, "LAST", 0.01)
    recorder = TraceRecorder(FILE)
    await make_calls(recorder, 1)
    recorder.close()
    assert texts(lines) == [
        "trace calls.csv: calls cannot be written, TimeoutError: not written in 0.01 s"
    ]
    let_go.set()
    await until(lambda: recorder.written == 1)


async def test_a_file_that_cannot_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it could not write has been told before."""

    class Broken(FileIO):
        def close(self) -> None:
            super().close()
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(rotation, "FileIO", Broken)
    with TraceRecorder(FILE) as recorder:
        await make_calls(recorder, 1)
    assert len(calls_in(FILE)) == 1


async def test_more_calls_than_can_wait(lines: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and logged once a minute; none of them waits for the writer."""
    monkeypatch.setattr(traces, "BACKLOG", 2)
    monkeypatch.setattr(traces, "TOGETHER", 60.0)
    with TraceRecorder(FILE) as recorder:
        await make_calls(recorder, 100)
    assert recorder.written + recorder.dropped == 100
    assert recorder.dropped >= 97
    assert texts(lines) == [f"trace calls.csv: calls that are missing in it: {recorder.dropped}"]


async def test_gaps_are_told_once_a_minute(lines: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """And at the end."""
    monkeypatch.setattr(traces, "BACKLOG", 0)
    with TraceRecorder(FILE) as recorder:
        async with Supervisor() as supervisor:
            supervisor.trace(recorder)
            breaker = supervisor.circuit("x")
            for written in (1, 2):
                monkeypatch.setattr(traces, "BACKLOG", 0)
                await breaker.call(succeed)
                monkeypatch.setattr(traces, "BACKLOG", 9)
                await breaker.call(succeed)
                await until(lambda written=written: recorder.written == written)
            assert len(texts(lines)) == 1
    assert texts(lines) == ["trace calls.csv: calls that are missing in it: 1"] * 2


async def test_a_thread_that_cannot_be_started(
    lines: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again at the next circuit's start; closing counts what nobody has written."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with TraceRecorder(FILE) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            await make_calls(recorder, 3)
        await make_calls(recorder, 1)
    assert recorder.written == 4
    with TraceRecorder(FILE) as recorder, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        await make_calls(recorder, 3)
        recorder.close()
    assert recorder.dropped == 3
    assert texts(lines) == [
        "trace calls.csv: calls cannot be written, RuntimeError: can't start new thread",
        "trace calls.csv: calls cannot be written, RuntimeError: can't start new thread",
        "trace calls.csv: calls that are missing in it: 3",
    ]


# The end


async def test_closing(recorder: TraceRecorder) -> None:
    """What waits is written, and nothing from then on; once more does nothing."""
    path = absolute(FILE)
    async with Supervisor() as supervisor:
        supervisor.trace(recorder)
        breaker = supervisor.circuit("x")
        await breaker.call(succeed)
        assert repr(recorder) == f"<TraceRecorder {path!r}, 0 written>"
        recorder.close()
        recorder.close()
        await breaker.call(succeed)
        await breaker.call(succeed)
        supervisor.circuit("y")
    assert (recorder.written, recorder.dropped) == (1, 0)


async def test_closing_before_anything_was_called() -> None:
    """Nobody can trace by it any more, and circuits that start later start no thread."""
    async with Supervisor() as supervisor:
        recorder = TraceRecorder(FILE)
        supervisor.trace(recorder)
        recorder.close()
        assert await supervisor.circuit("x").call(succeed) == "fine"
        assert not [each for each in threading.enumerate() if each.name == "supervisor trace"]
        with pytest.raises(ValueError, match=r"^recorder must not be closed yet, got <TraceRec"):
            supervisor.trace(recorder)
    assert (recorder.written, recorder.dropped) == (0, 0)


def test_closing_what_was_never_told_anything() -> None:
    """There is the header, and no thread was ever there."""
    TraceRecorder(FILE).close()
    assert FILE.read_text() == HEADER


async def test_a_recorder_that_nobody_holds() -> None:
    """It is closed when it is collected, be it by the thread that writes."""
    await make_calls(TraceRecorder(FILE), 1)
    gc.collect()
    assert len(calls_in(FILE)) == 1
    assert not [each for each in threading.enumerate() if each.name == "supervisor trace"]


def test_the_writer_itself_may_be_the_one_to_close_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not wait for itself."""
    recorder = TraceRecorder(FILE)

    class Closing(FileIO):
        def write(self, text: Any) -> int:
            recorder.close()
            return super().write(text)

    anyio.run(make_calls, recorder, 1)
    anyio.run(until, lambda: recorder.written == 1)
    monkeypatch.setattr(rotation, "FileIO", Closing)
    FILE.unlink()
    anyio.run(make_calls, recorder, 1)
    anyio.run(until, lambda: recorder.written == 2)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_life_in_virtual_time(backend: Any) -> None:
    """Times are those of the event loop, from the time by the wall on at which it began."""

    async def main() -> None:
        async with Supervisor() as supervisor:
            supervisor.trace(recorder)
            breaker = supervisor.circuit("x")
            await breaker.call(take, 1.5)
            await anyio.sleep(3_600)
            await breaker.call(take, 2.5)

    with TraceRecorder(FILE) as recorder:
        run_in_virtual_time(main, backend=backend)
    first, second = calls_in(FILE)
    assert (first.duration, second.duration) == (1.5, 2.5)
    assert second.at - first.at == pytest.approx(3_601.5, abs=1e-5)
