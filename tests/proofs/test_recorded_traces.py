"""What a recorder has written down of a circuit's calls makes a simulation do what the circuit did.

The lives are those of test_simulation.py, with a recorder: policies and calls are drawn, and made
in virtual time. The trace is then played to the same policy. It tells all that the policy goes by,
so the circuit opens at the same times, refuses as many calls, and none is admitted of which the
trace does not tell how it would have ended.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from supervisor import CallEnded, CallRefused, Outcome, TraceRecorder
from supervisor.recording import Trace, read_trace
from supervisor.testing import run_in_virtual_time
from tests.proofs.test_simulation import Play, play_of
from tests.support.guarded_traces import SOON, Admitted, Played, Refused, guarded, simulated
from tests.support.seeds import Seeds
from tests.support.worlds import BACKENDS

LIVES: Final = 60
"""Those that are recorded on each backend for each unit of effort."""

EXACT: Final = 1e-7
"""Seconds: a trace has nine digits after the point, and the longest recovery adds several times."""


def lived(backend: str, play: Play, file: Path) -> tuple[Played, Trace]:
    """Live it, and return what the circuit did, and what was recorded."""
    with TraceRecorder(file) as recorder:
        main = partial(
            guarded,
            play.policy,
            play.trace,
            play.plain,
            play.way,
            play.returns,
            recorder,
        )
        life = run_in_virtual_time(main, backend=backend)
    assert recorder.dropped == 0
    return life, read_trace(file)


def check_events(events: list[Any], trace: Trace) -> None:
    """A listener is told what a recorder writes down, call by call."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    told = sorted(map(facts_of, events))
    written = sorted(
        (
            call.outcome.value if call.outcome else call.reason,
            call.retry,
            call.failure.weight if call.outcome is Outcome.FAILED else 0,
            (call.at, call.duration, call.waited),
        )
        for call in trace.calls
    )
    assert [each[:3] for each in told] == [each[:3] for each in written]
    for (*_, times), (*_, expected) in zip(told, written, strict=True):
        assert times == pytest.approx(expected, abs=EXACT)


def facts_of(event: CallEnded | CallRefused) -> tuple[str, bool, int, tuple[float, ...]]:
    if isinstance(event, CallRefused):
        return event.reason, event.retry, 0, (event.at, 0.0, 0.0)
    asked = event.at - event.duration - event.waited
    weight = event.kind.weight if event.kind is not None else 0
    return event.outcome.value, event.retry, weight, (asked, event.duration, event.waited)


def check(life: Played, trace: Trace, play: Play) -> Played:
    """Play what was recorded to the same policy, and compare; return what the simulation says."""
    said = simulated(play.policy, trace)
    until = trace.end - EXACT  # the circuit has lived longer than the last of its calls
    was = [(each.to_state, each.at) for each in life.changes if each.at < until]
    is_said = [(each.to_state, each.at) for each in said.changes if each.at < until]
    assert [state for state, _ in is_said] == [state for state, _ in was]
    assert [at for _, at in is_said] == pytest.approx([at for _, at in was], abs=EXACT)
    return said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trace_tells_all_that_a_policy_goes_by(
    backend: str, seeds: Seeds, figures: Counter[str], tmp_path: Path
) -> None:
    """The same openings; who was refused is refused, and nobody else."""
    seen: Counter[str] = Counter()
    for seed in seeds(LIVES):
        play = play_of(seed)
        life, trace = lived(backend, play, tmp_path / f"{seed}.csv")
        check_events(life.told, trace)
        said = check(life, trace, play)
        for call, verdict in zip(trace.calls, said.verdicts, strict=True):
            answered = call.at + (call.wait or 0.0) if call.outcome is None else call.began
            if answered < trace.end - SOON:
                like = Refused if call.outcome is None else Admitted
                assert isinstance(verdict, like), f"seed {seed}: {call}, {verdict}"
                assert not isinstance(verdict, Refused) or verdict.reason == call.reason
            seen["calls"] += 1
            seen["refused"] += call.outcome is None
            seen["has waited"] += call.waited > 0
        seen["opened"] += life.figures["times_opened"]
    figures[f"calls recorded and simulated, {backend}"] += seen["calls"]
    assert all(seen[what] > LIVES // 10 for what in ("refused", "opened", "has waited")), seen
