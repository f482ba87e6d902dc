"""Recordings: what they keep, what they are as a file, and what they come to played again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

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
from supervisor.machine.machine import Machine
from supervisor.machine.messages import (
    Acquire,
    CircuitState,
    Force,
    Message,
    Overdue,
    Reconfigure,
    Renew,
    Reset,
    Retry,
    Settle,
    Withdraw,
)
from supervisor.machine.ordered import Ordered, OrderedMap, Times
from supervisor.policy.outcomes import Failure, Outcome
from supervisor.policy.policy import Policy
from supervisor.recording.format import NOT_NEEDED, plain, read_start
from supervisor.recording.recording import Recording
from supervisor.recording.replay import replay_lines
from supervisor.testing import run_in_virtual_time
from tests.support.worlds import crash, fail_times, is_refused, settle_down, succeed

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
        assert plain(replay.machine) == plain(circuit.machine)
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
        with pytest.raises(RuntimeError, match=r"breaker\.sync\.ask"):
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


BUSY = Failure("busy", weight=2, threshold=5, recovery_timeout=3, retry_after=4)

EVERYTHING: dict[str, Any] = {
    "window_seconds": 100.0,
    "failure_rate": 0.9,
    "minimum_calls": 5,
    "slow_call_duration": 1.0,
    "slow_call_rate": 0.9,
    "classify": lambda _: BUSY,
    "failure_on": OSError,
    "recovery_factor": 2.0,
    "max_recovery_timeout": 60.0,
    "recovery_jitter": 0.5,
    "probes": 4,
    "probe_failure_rate": 0.5,
    "half_open_timeout": 9.0,
    "ramp": 10.0,
    "throttle": 1.5,
    "retry_budget": 0.5,
    "timeout": 7.0,
}
"""A policy of which no part is left out."""

TOLD: list[Message] = [
    Settle(0, 0, Outcome.SUCCEEDED, times=9),
    Overdue(0, call=3, at=1.0, after=1.0, failed=False),
    Settle(0, 0, Outcome.FAILED, 2.0, "Down: down", of_kind=BUSY, slow=True, retry=True, call=3),
    Acquire(1, at=40.0),
    Acquire(2, at=40.0, draw=0.5, retry=True, wait_until=50.5, wait_for="verdict", deadline=60.0),
    Retry(3, at=40.0),
    Withdraw(2),
    Renew(2, period=1, at=6.5),
    Force(CircuitState.METRICS_ONLY, 41.0),
    Force(CircuitState.FORCED_OPEN, 42.0),
    Force(CircuitState.FORCED_OPEN, 42.0, hold=5, seconds=0.25),
    Acquire(4, at=42.0, wait_until=42.5),
    Reconfigure(Policy(window_calls=5, failure_threshold=2, failure_on=OSError), 43.0),
    Force(CircuitState.CLOSED),
    Settle(5, 0, Outcome.FAILED, 44.0, times=2),
    Reset(45.0),
]
"""Each kind of message, and each of their fields."""


def recording_of(machine: Machine, messages: list[Message]) -> list[str]:
    """Return the lines that there would be if an actor took each message in a turn of its own."""
    recording = Recording("x", machine, 1_000, catch_up=lambda: None, clock_zero=1e9)
    for message in messages:
        machine.apply(message)
        recording.turn_taken([message], machine, machine.latest)
        machine.transitions.clear()
    return list(recording.lines())


def test_every_message_can_be_recorded() -> None:
    """Each with all that it says; what happens by it is the same again."""
    machine = Machine(Policy(**EVERYTHING))
    lines = recording_of(machine, TOLD)
    assert set(kinds(lines)) == {
        *(type(message).__name__ for message in TOLD),
        "Turn",
        "Transition",
        "Reconfigured",
    }
    replay = replay_lines(lines)
    assert replay.agrees
    assert replay.machine.released == ()
    assert plain(replay.machine) == plain(machine)


def test_functions_and_types_are_not_recorded() -> None:
    """What they have said of errors and results is: the machine knows of nothing else."""
    start = json.loads(recording_of(Machine(Policy(**EVERYTHING)), [])[0])
    replay = replay_lines([json.dumps(start)])
    assert replay.machine.policy.failure_on is Exception
    assert replay.machine.policy.classify is None
    assert replay.machine.policy.timeout is None
    assert replay.machine.policy.failure_rate == 0.9


def test_a_recording_is_plain_json() -> None:
    """Also where something is infinite, for which JSON has no number."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    lines = recording_of(Machine(Policy()), [Force(CircuitState.FORCED_OPEN, 1.0)])
    (transition,) = (
        json.loads(line, parse_constant=refuse)["Transition"]
        for line in lines
        if "Transition" in line
    )
    assert transition["retry_after"] == "inf"
    assert replay_lines(lines).agrees


@pytest.mark.parametrize(
    "window", [{}, {"window_seconds": None, "window_calls": 5}, {"window_seconds": 100.0}]
)
def test_nothing_of_a_machine_is_forgotten(window: dict[str, Any]) -> None:
    """Whatever attribute its parts have, or will have: another value of it is read again."""
    policy = Policy(**EVERYTHING | {"failure_rate": None, "slow_call_rate": None} | window)
    machine = machine_with_everything(policy)
    new = leaves(Machine(policy))
    for path, value in leaves(machine).items():
        assert path not in new or value != new[path], f"{path} is like that of a new machine"
    (line,) = recording_of(machine, [])
    circuit, clock_zero, again = read_start(line)
    assert (circuit, clock_zero) == ("x", 1e9)
    assert leaves(again) == leaves(machine)


def machine_with_everything(policy: Policy) -> Machine:
    """Return a half-open machine that is in no respect like a new one, nor need make sense."""
    machine = Machine(policy)
    machine.apply(Settle(0, 0, Outcome.FAILED, 1.0, "Down: down", of_kind=BUSY))
    machine.apply(Acquire(1, at=90.0))
    machine.trip.overdue = {3: (4, False)}
    machine.holds = Times([(6, 70.0)])
    request = Acquire(5, at=90.0, draw=0.5, wait_until=99.0, wait_for="verdict")
    machine.waiting = OrderedMap([(5, request)])
    machine.wait_ends = Ordered([(99.0, 5)])
    change_all(machine)
    return machine


def change_all(part: object) -> None:
    """Give a part other numbers, and those that it holds."""
    for name, value in attributes(part):
        match value:
            case bool():
                setattr(part, name, not value)
            case int() | float() if value != float("inf"):
                setattr(part, name, value + 7)
            case bytearray():
                setattr(part, name, bytearray(b"\1\2\3"))
            case [int(), *_]:
                setattr(part, name, [number + 7 for number in value])
            case dict() if name == "tallies":
                change_all(value["busy"])
            case _ if is_part(value):
                change_all(value)


def leaves(part: object, at: str = "") -> dict[str, object]:
    """Return what a part holds, and its parts do, by their paths."""
    found: dict[str, object] = {}
    for name, value in attributes(part):
        if is_part(value):
            found |= leaves(value, f"{at}{name}.")
        elif name == "tallies" and isinstance(value, dict):
            for kind, tally in value.items():
                found |= leaves(tally, f"{at}{name}.{kind}.")
        else:
            found[f"{at}{name}"] = value
    return found


def attributes(part: object) -> Iterator[tuple[str, Any]]:
    slots = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in slots or list(vars(part)):
        if name not in NOT_NEEDED.get(type(part), ()):
            yield name, getattr(part, name)


def is_part(value: object) -> bool:
    return hasattr(value, "copy") and not isinstance(value, dict | list | bytearray)


def test_every_damage_is_found() -> None:
    """Of every value its type, and of every object its names, in the start and in each entry."""
    machine = machine_with_everything(Policy(**EVERYTHING))
    lines = recording_of(machine, [])
    lines += recording_of(Machine(Policy(**EVERYTHING)), TOLD)[1:]
    for number, line in enumerate(lines, 1):
        damaged = list(damages(json.loads(line)))
        assert len(damaged) > 5
        for damage in damaged:
            with pytest.raises(RecordingError, match=f"line {number} is not"):
                replay_lines([*lines[: number - 1], json.dumps(damage)])


def test_what_breaks_the_machine_is_found_as_well() -> None:
    """Each value may be of the right type, and yet such as no machine is ever told."""
    failure = Settle(0, 0, Outcome.FAILED, 1.0)
    lines = recording_of(Machine(Policy(window_seconds=5)), [failure])
    lines[1] = lines[1].replace("1.0", '"inf"')
    with pytest.raises(RecordingError, match="line 2 is not that of a recording: OverflowError"):
        replay_lines(lines)


def damages(content: Any) -> Iterator[Any]:
    """Return it with something else in the place of each value, or with a name more or less."""
    yield {"wrong": 1}
    if isinstance(content, dict):
        yield {**content, "wrong": 1}
        for name, value in content.items():
            yield {other: kept for other, kept in content.items() if other != name}
            for damage in damages(value):
                yield {**content, name: damage}
    elif isinstance(content, list):
        yield [*content, 1]
        for place, value in enumerate(content):
            for damage in damages(value):
                yield [*content[:place], damage, *content[place + 1 :]]


def test_the_command_prints_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each transition, and the figures at the end."""
    file = written(tmp_path)
    assert __main__.main(["replay", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("circuit 'x': 5 messages, ")
    assert re.fullmatch(r"time 0 was \d{4}-\d\d-\d\d at \d\d:\d\d:\d\d UTC", lines[1])
    assert [line.split("  ")[-1].strip() for line in lines[2:5]] == [
        "Down: down",
        "Down: down",
        "period 3, 0 failures",  # closed again, so that nothing has opened it
    ]
    assert "closed, 0 failures in a row; in all 2 succeeded, 2 failed" in lines[5]
    assert lines[6] == "every transition is as it was recorded"


@pytest.mark.parametrize("zero", [-1e300, 1e300, 1e18])
def test_a_time_that_is_no_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zero: float
) -> None:
    """As in a file that is damaged: then no date is told."""
    file = tmp_path / "x.jsonl"
    recording = Recording("x", Machine(Policy()), 1, catch_up=lambda: None, clock_zero=zero)
    recording.write(file)
    assert replay_file(file).clock_zero == zero
    assert __main__.main(["replay", str(file)]) == 0
    assert "time 0" not in capsys.readouterr().out


@pytest.mark.anyio
async def test_times_can_be_turned_into_dates(tmp_path: Path) -> None:
    """By when the clock of the event loop was at 0, which figures and recordings tell."""
    now = time.time()
    async with Supervisor() as supervisor:
        supervisor.circuit("x")
        zero = supervisor.statistics()["x"].clock_zero
        assert zero + anyio.current_time() == pytest.approx(now, abs=60)
        assert supervisor.figures().circuits["x"].clock_zero == zero
        supervisor.record("x").write(tmp_path / "x.jsonl")
    assert replay_file(tmp_path / "x.jsonl").clock_zero == zero


def test_the_command_tells_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says from which transition on, shows both, and fails."""
    file = written(tmp_path)
    lines = [line for line in file.read_text().splitlines() if "Acquire" not in line]
    file.write_text("\n".join(lines))
    assert __main__.main(["replay", str(file)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert "not what was recorded, from transition 3 on; it was:" in shown
    assert "closed" in shown[-1]


def test_the_command_tells_what_was_done_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for another policy, too; and what would have been is marked as that."""
    told: list[Message] = [
        Reconfigure(Policy(failure_threshold=1, window_calls=5), 1.0),
        Force(CircuitState.METRICS_ONLY, 2.0),
        Settle(1, 0, Outcome.FAILED, 3.0, "Down: down"),
        Acquire(1, at=4.0),
        Reconfigure(Policy(), 5.0),
        Reconfigure(Policy(failure_threshold=1, window_seconds=5), 6.0),
    ]
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join(recording_of(Machine(Policy()), told)))
    assert __main__.main(["replay", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[16:] for line in lines[2:-2]] == [
        "  policy: failure_threshold=1, window_calls=5",
        "         closed -> metrics_only   period 1, 0 failures",
        "         closed -> open           period 2, 1 failures, metrics only  Down: down",
        "  policy: the default one",
        "  policy: failure_threshold=1, window_seconds=5.0",
    ]
    assert lines[-2].startswith(
        "at the end: metrics_only (would be open, and have refused 1), 1 failures in the window;"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: "", "line 1 is not that of a recording"),
        (lambda text: text[:-40], "line 13 is not that of a recording"),
        (lambda text: text.replace('"format": 8', '"format": 99'), "its format is 99, not 8"),
        (lambda text: text.replace('"stale": 0, ', ""), "missing or unknown: stale"),
        (lambda text: text.replace("Acquire", "Explode"), "line 9 is not that of a recording"),
        (lambda text: text.replace(': "failed"', ': "lost"'), "'lost' is not a valid Outcome"),
        (lambda text: "[]\n" + text, "line 1 is not that of a recording"),
        (lambda text: text.replace('"latest": 0.0', '"latest": "x"'), "latest is 'x'"),
        (lambda text: text.replace('"latest": 0.0', '"latest": NaN'), "NaN is no number"),
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


def test_what_editors_put_around_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte-order mark, other ends of lines, and blank lines are no damage."""
    file = written(tmp_path)
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n \n\n")
    assert __main__.main(["replay", str(file)]) == 0
    assert "every transition is as it was recorded" in capsys.readouterr().out


def test_the_very_line_is_named_that_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also if it is no text at all, and as briefly as any other."""
    file = written(tmp_path)
    turn = b'{"Turn": {"at": 0.0}}\n'
    start = file.read_bytes().splitlines(keepends=True)[0]
    file.write_bytes(start + turn * 298 + b"\xff" * 9000 + b"\n" + turn * 100)
    assert __main__.main(["replay", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"{file}: line 300 is not that of a recording: UnicodeDecodeError: ")
    assert len(err) < 600


def test_texts_of_a_recording_tell_the_terminal_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a failure said, and whatever a damaged line holds, is on one line, and escaped."""
    file = written(tmp_path)
    file.write_text(file.read_text().replace("Down: down", "\\u001b[31mDown:\\ndown\\u2028."))
    __main__.main(["replay", str(file)])
    out = capsys.readouterr().out
    assert r"\x1b[31mDown:\ndown\u2028." in out
    file.write_text('{"\\u001b[2J": 5, "format": 4}\n')
    assert __main__.main(["replay", str(file)]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


def test_no_name_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """No system has such a one."""
    assert __main__.main(["replay", "a\0b"]) == 2
    assert capsys.readouterr().err.startswith("a\\x00b: ")


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names it."""
    assert __main__.main(["replay", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_to_its_end() -> None:
    """That is no damage of the recording."""

    def lines() -> Iterator[str]:
        yield recording_of(Machine(Policy()), [])[0]
        raise TimeoutError("a network drive is gone")

    with pytest.raises(OSError, match="gone"):
        replay_lines(lines())


def written(folder: Path) -> Path:
    lines = run_in_virtual_time(recorded)
    file = folder / "x.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


OTHER_TALLY = {"tally": {"failures": 0}, "kinds": None, "overdue": None}


@pytest.mark.parametrize(
    ("policy", "wrong"),
    [
        (
            {"window_calls": 20},
            {"trip": {"tally": {"failures": 0}, "kinds": None, "overdue": None}},
        ),
        ({"throttle": 2}, {"throttle": None}),
        ({"retry_budget": 0.5}, {"budget": None}),
        ({}, {"would_be": "half_open"}),
        ({}, {"trip": {**OTHER_TALLY, "kinds": []}}),
    ],
)
def test_what_does_not_follow_from_the_policy(policy: dict[str, Any], wrong: Any) -> None:
    """A machine that no messages could have brought about is refused."""
    (line,) = recording_of(Machine(Policy(**policy)), [])
    start = json.loads(line)
    start["machine"] |= wrong
    with pytest.raises(RecordingError, match=r"^line 1 is not"):
        replay_lines([json.dumps(start)])
