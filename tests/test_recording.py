"""Recordings: what they keep, what they are as a file, and what they come to played again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    RecordingError,
    StateChanged,
    Supervisor,
    __main__,
    replay_file,
)
from supervisor.replay import replay_lines
from tests.virtual_time import run_in_virtual_time
from tests.worlds import crash, fail_times, is_refused, settle_down, succeed

OUTAGE = [
    "Settle",  # the success
    "Settle",  # the first failure
    "Settle",  # the one that opens the circuit
    "Turn",
    "Transition",
    "Turn",
    "Transition",
    "Acquire",
    "Turn",
    "Settle",
    "Turn",
    "Transition",
]


async def outage(breaker: CircuitBreaker) -> None:
    """Open the circuit by two failures, and close it by a probe."""
    await breaker.call(succeed)
    await fail_times(breaker, 2)
    await settle_down()
    assert await is_refused(breaker)
    await anyio.sleep(breaker.recovery_timeout + 1)  # the actor has taken its turn by then
    await breaker.call(succeed)
    await settle_down()


async def recorded(limit: int = 100) -> list[str]:
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=2)
        await settle_down()
        recording = supervisor.record("x", limit)
        await outage(breaker)
        return list(recording.lines())


def kinds(lines: list[str]) -> list[str]:
    return [next(iter(json.loads(line))) for line in lines[1:]]


@pytest.mark.anyio
async def test_a_recording_says_what_the_actor_was_told() -> None:
    """In order: the messages of each turn, its end, and what came of it."""
    lines = await recorded()
    start = json.loads(lines[0])
    assert (start["circuit"], start["policy"]["failure_threshold"]) == ("x", 2)
    assert kinds(lines) == OUTAGE


@pytest.mark.anyio
async def test_played_again_it_comes_to_the_same(tmp_path: Path) -> None:
    """The same states, transitions and figures as the circuit's own."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=2)
        recording = supervisor.record("x")
        events = supervisor.events()
        await outage(breaker)
        recording.write(tmp_path / "x.jsonl")
        circuit = supervisor.find("x")
        assert circuit is not None
        replay = replay_file(tmp_path / "x.jsonl")
        assert replay.agrees
        assert vars(replay.machine) | {"grant": 0} == vars(circuit.machine) | {"grant": 0}
    changes = [event async for event in events if isinstance(event, StateChanged)]
    assert [(each.at, each.to_state, each.period) for each in changes] == [
        (each.at, each.to_state, each.period) for each in replay.transitions
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
@pytest.mark.anyio
async def test_a_recording_is_bounded(limit: int) -> None:
    """It keeps the last entries, and still starts from where they start."""
    lines = await recorded(limit)
    assert kinds(lines) == OUTAGE[-(len(lines) - 1) :]
    assert len(lines) - 1 >= min(limit, len(OUTAGE))
    replay = replay_lines(lines)
    assert replay.agrees
    assert (replay.machine.state, replay.machine.succeeded) == ("closed", 2)


@pytest.mark.anyio
async def test_a_message_that_crashed_the_actor_is_left_out() -> None:
    """Those before it in the same turn are there, and those after it."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=2)
        await settle_down()
        recording = supervisor.record("x")
        await fail_times(breaker, 1)
        crash(supervisor, "x")
        await settle_down()
        await fail_times(breaker, 1)
        await settle_down()
        replay = replay_lines(recording.lines())
    assert replay.agrees
    assert (replay.machine.state, replay.messages) == ("open", 2)


@pytest.mark.anyio
async def test_what_the_actor_has_not_taken_yet_is_recorded() -> None:
    """Who writes a recording sees what he would read at that moment; the rest goes on as always."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=2, recovery_timeout=5)
        await settle_down()
        await fail_times(breaker, 1)
        recording = supervisor.record("x")
        await breaker.call(succeed)
        await fail_times(breaker, 2)
        replay = replay_lines(recording.lines())
        assert (replay.machine.state, replay.machine.failure_count) == ("open", 2)
        assert replay.machine.succeeded == 1
        await anyio.sleep(6)
        assert replay_lines(recording.lines()).machine.state == breaker.state == "half_open"
        with pytest.raises(RuntimeError, match=r"anyio\.from_thread"):
            await anyio.to_thread.run_sync(recording.write, "x.jsonl")


@pytest.mark.anyio
async def test_the_second_recording_takes_the_place_of_the_first() -> None:
    """The first one keeps what it has."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=2)
        await settle_down()
        first = supervisor.record("x")
        await fail_times(breaker, 2)
        await settle_down()
        before = list(first.lines())
        second = supervisor.record("x")
        breaker.reset()
        await settle_down()
        assert list(first.lines()) == before
        assert kinds(list(second.lines())) == ["Reset", "Turn", "Transition"]


@pytest.mark.anyio
async def test_only_a_circuit_can_be_recorded() -> None:
    """And only with a sensible limit."""
    async with Supervisor() as supervisor:
        with pytest.raises(KeyError, match="nobody"):
            supervisor.record("nobody")
        supervisor.circuit("x")
        with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
            supervisor.record("x", 0)


def test_the_command_prints_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each transition, and the figures at the end."""
    file = written(tmp_path)
    assert __main__.main(["replay", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("circuit 'x': 5 messages, ")
    assert [line.split("  ")[-1].strip() for line in lines[1:4]] == [
        "Down: down",
        "Down: down",
        "Down: down",
    ]
    assert "closed, 0 failures in a row; in all 2 succeeded, 2 failed" in lines[4]
    assert lines[5] == "every transition is as it was recorded"


def test_the_command_tells_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says from which transition on, shows both, and fails."""
    file = written(tmp_path)
    lines = [line for line in file.read_text().splitlines() if "Acquire" not in line]
    file.write_text("\n".join(lines))
    assert __main__.main(["replay", str(file)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert "not what was recorded, from transition 3 on; it was:" in shown
    assert "closed" in shown[-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: "", "line 1 is not that of a recording"),
        (lambda text: text[:-40], "line 13 is not that of a recording"),
        (lambda text: text.replace('"format": 1', '"format": 99'), "its format is 99, not 1"),
        (lambda text: text.replace('"stale": 0, ', ""), "missing or unknown: stale"),
        (lambda text: text.replace("Acquire", "Explode"), "line 9 is not that of a recording"),
        (lambda text: text.replace(': "failed"', ': "lost"'), "'lost' is not a valid Outcome"),
        (lambda text: "[]\n" + text, "line 1 is not that of a recording"),
        (lambda text: text.replace('"latest": 0.0', '"latest": "x"'), "latest is 'x'"),
        (lambda text: text + "[" * 100_000, "RecursionError"),
    ],
)
def test_what_is_no_recording_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[str], str],
    message: str,
) -> None:
    """The error names the file and the line."""
    file = written(tmp_path)
    file.write_text(damage(file.read_text()))
    with pytest.raises(RecordingError, match=message):
        replay_file(file)
    assert __main__.main(["replay", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"{file}: line ")


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names it."""
    assert __main__.main(["replay", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


def written(folder: Path) -> Path:
    lines = run_in_virtual_time("asyncio", recorded)
    file = folder / "x.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file
