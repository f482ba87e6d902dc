"""A recording played again comes to the same, wherever and in whatever order it was recorded."""

from __future__ import annotations

from collections import Counter

import pytest

from supervisor.replay import replay_lines
from tests.proofs.traces import recorded
from tests.virtual_time import BACKENDS, run_in_virtual_time

STEPS = 4_000
"""Of each life; about every second one puts a message into the mailbox."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_life_of_many_tasks(backend: str, effort: int, figures: Counter[str]) -> None:
    """Whatever order the tasks ran in, the recording holds all that the outcome depends on."""
    for seed in range(3 * effort):
        recording = run_in_virtual_time(backend, recorded, seed, STEPS // 10, 10)
        replay = replay_lines(recording.lines())
        assert replay.agrees
        assert len(replay.transitions) > 20
        figures[f"messages recorded and replayed, {backend}"] += replay.messages


def test_a_life_is_the_same_on_every_backend(effort: int, figures: Counter[str]) -> None:
    """One task, the same seed: the same messages at the same times, and the same states."""
    for seed in range(100, 100 + 3 * effort):
        told, replays = {}, {}
        for backend in BACKENDS:
            lines = list(run_in_virtual_time(backend, recorded, seed, STEPS).lines())
            told[backend] = [line for line in lines if not line.startswith(OF_THE_ACTOR)]
            replays[backend] = replay_lines(lines)
            figures[f"messages compared between backends, {backend}"] += len(told[backend])
        assert told["asyncio"] == told["uvloop"] == told["trio"]
        first, second, third = (replay.transitions for replay in replays.values())
        assert first == second == third
        assert all(replay.agrees for replay in replays.values())


OF_THE_ACTOR = ('{"Turn"', '{"Transition"')
"""How many messages it takes in a turn is the scheduler's business."""


@pytest.mark.parametrize("limit", [1, 10, 1_000])
def test_a_bounded_recording_starts_where_it_starts(limit: int) -> None:
    """The end is the same as that of the whole."""
    whole, end = (
        replay_lines(run_in_virtual_time("asyncio", recorded, 7, STEPS, 1, most).lines())
        for most in (10_000_000, limit)
    )
    assert end.agrees
    assert vars(end.machine) | {"grant": 0} == vars(whole.machine) | {"grant": 0}
    assert whole.transitions[-len(end.transitions) - 1 :][1:] == end.transitions
