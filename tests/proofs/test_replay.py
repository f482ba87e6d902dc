"""A recording played again comes to the same, wherever and in whatever order it was recorded."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any, get_args

import pytest

from supervisor.machine.fleet import FromFleet, ToFleet
from supervisor.machine.machine import Machine
from supervisor.machine.messages import Change, Grant, Reconfigured, Refusal, Transition
from supervisor.recording.format import Entry, Turn, plain, read_entry, read_start
from supervisor.recording.recording import Recording
from supervisor.recording.replay import RecordingError, replay_lines
from supervisor.testing import run_in_virtual_time
from tests.proofs.traces import POLICIES, recorded
from tests.support.seeds import Seeds
from tests.support.worlds import BACKENDS

STEPS = 400
"""Of each life; about every second one puts a message into the mailbox."""

every_policy = pytest.mark.parametrize("policy", POLICIES)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_life_of_many_tasks(backend: str, seeds: Seeds, figures: Counter[str]) -> None:
    """Whatever order the tasks ran in, the recording holds all that the outcome depends on."""
    kinds: set[str] = set()
    transitions = 0
    for policy in POLICIES:
        for seed in seeds(1):
            lines = lines_of(backend, policy, seed, STEPS // 4, 10)
            replay = replay_lines(lines)
            assert replay.agrees
            transitions += len(replay.transitions)
            kinds.update(next(iter(json.loads(line))) for line in lines[1:])
            figures[f"messages recorded and replayed, {backend}"] += replay.messages
    assert transitions > 5 * len(POLICIES) * seeds.effort
    of_fleets = {*get_args(FromFleet), *get_args(ToFleet)}
    assert kinds == {kind.__name__ for kind in {*get_args(Entry)} - of_fleets}


@every_policy
def test_a_life_is_the_same_on_every_backend(
    policy: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """One task, the same seed: the same messages at the same times, and the same states."""
    for seed in seeds(1, first=100):
        told, changes = [], []
        for backend in BACKENDS:
            lines = lines_of(backend, policy, seed, STEPS)
            assert replay_lines(lines).agrees
            told.append([rounded(line) for line in lines if not line.startswith(OF_THE_ACTOR)])
            changes.append([rounded(line) for line in lines if line.startswith(OF_THE_ACTOR[1:])])
            figures[f"messages compared between backends, {backend}"] += len(told[-1])
        assert told[0] == told[1] == told[2]
        assert changes[0] == changes[1] == changes[2]


OF_THE_ACTOR = ('{"Turn"', '{"Transition"', '{"Reconfigured"')
"""How many messages it takes in a turn is the scheduler's business."""


def rounded(line: str) -> Any:
    """Read a line; the clocks of the backends differ by what they round, and when they began."""
    read = json.loads(line, parse_float=lambda number: round(float(number), 6))
    read.pop("clock_zero", None)
    return read


@every_policy
def test_a_bounded_recording_starts_where_it_starts(policy: str) -> None:
    """The end is the same as that of the whole."""
    whole = replay_lines(lines_of("asyncio", policy, 7, STEPS))
    for limit in (1, 10, 100):
        end = replay_lines(lines_of("asyncio", policy, 7, STEPS, 1, limit))
        assert end.agrees
        assert plain(end.machine) == plain(whole.machine)
        assert whole.transitions[-len(end.transitions) - 1 :][1:] == end.transitions


@every_policy
def test_a_machine_goes_on_from_any_line(policy: str, seeds: Seeds, figures: Counter[str]) -> None:
    """Written and read again after each message, it does and answers what it would have done."""
    for seed in seeds(1, first=200):
        lines = lines_of("asyncio", policy, seed, STEPS)
        _, _, machine = read_start(lines[0])
        _, _, again = read_start(lines[0])
        for line in lines[1:]:
            entry = read_entry(line)
            assert said(again, entry) == said(machine, entry)
            (start,) = Recording("x", again, 1, lambda: None, 0.0).lines()
            _, _, again = read_start(start)
            assert plain(again) == plain(machine)
            figures["machines written and read in the middle of a life"] += 1


def said(machine: Machine, entry: Entry) -> tuple[list[object], list[Change]]:
    """Tell a machine one thing, and return its answers, and what it has done."""
    answer: Grant | Refusal | None = None
    match entry:
        case Transition() | Reconfigured():
            pass
        case Turn():
            machine.advance(entry.at)
        case _:
            answer = machine.apply(entry)
    answers = [answer, *(late for _, late in machine.released)]
    changes = machine.transitions.copy()
    machine.transitions.clear()
    machine.released = ()
    return [each.probe if isinstance(each, Grant) else each for each in answers], changes


def test_damaged_recordings_are_refused_or_played(seeds: Seeds, figures: Counter[str]) -> None:
    """Whatever becomes of a few of its characters, there is no error but that which says so."""
    for policy in POLICIES:
        text = "\n".join(lines_of("asyncio", policy, next(seeds(1, first=300)), 60))
        for seed in seeds(100):
            draw = random.Random(f"{policy} {seed}")
            try:
                replay_lines(damaged(text, draw).splitlines())
            except RecordingError as error:
                assert str(error).startswith("line ")
                figures["damaged recordings refused"] += 1
            else:
                figures["damaged recordings played all the same"] += 1


def damaged(text: str, draw: random.Random) -> str:
    """Change some characters of a text, or take some out, or double them."""
    for _ in range(draw.randrange(1, 4)):
        begin = draw.randrange(len(text))
        end = begin + draw.choice([0, 1, 1, 1, 2, 20, 200])
        part = draw.choice(["", text[begin:end] * 2, *'0179-"{}[],: \nex', "null", "true", "1e999"])
        text = text[:begin] + part + text[end:]
    return text


def lines_of(backend: str, *life: Any) -> list[str]:
    """Live a life, and return its recording."""
    return list(run_in_virtual_time(recorded, *life, backend=backend).lines())
