"""Recordings played again: `python -m supervisor replay FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor.machine import Change, Machine, Reconfigured, Transition
from supervisor.policy import Policy
from supervisor.recording.recording import Turn, needed, read_entry, read_start


class RecordingError(ValueError):
    """A file is no recording, or a damaged one; the message names the line."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a recording comes to when it is played again.

    Attributes:
        circuit: the circuit's name.
        began: the event loop's time, in seconds, at the beginning.
        machine: the machine at the end; its policy is the recorded one, but for functions and
            types that judge errors and results, since what they said is what was recorded.
        messages: how many it has taken.
        transitions: what it did, changes of the policy included.
        recorded: what it did when it was recorded.
    """

    circuit: str
    began: float
    machine: Machine
    messages: int
    transitions: list[Change]
    recorded: list[Change]

    @property
    def agrees(self) -> bool:
        """Whether it did what it did when it was recorded."""
        return self.transitions == self.recorded


def replay_file(path: str | Path) -> Replay:
    """Play a recording again.

    Raises:
        OSError: the file cannot be read.
        RecordingError: it is no recording.
    """
    with Path(path).open(encoding="utf-8") as file:
        return replay_lines(file)


def replay_lines(lines: Iterable[str]) -> Replay:
    """Play a recording again, given its lines.

    Raises:
        RecordingError: they are not those of a recording.
    """
    lines = iter(lines)
    number, messages = 1, 0
    transitions: list[Change] = []
    recorded: list[Change] = []
    try:
        circuit, machine = read_start(next(lines, ""))
        began = machine.latest
        for line in lines:
            number += 1
            entry = read_entry(line)
            match entry:
                case Transition() | Reconfigured():
                    recorded.append(entry)
                case Turn():
                    machine.advance(entry.at)
                case _:
                    machine.apply(entry)
                    messages += 1
            transitions += machine.transitions
            machine.transitions.clear()
            machine.released = ()
    except OSError:
        raise
    except Exception as error:  # a damaged line may break whatever it gets into
        raise RecordingError(f"line {number} is not that of a recording: {error!r}") from error
    return Replay(circuit, began, machine, messages, transitions, recorded)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the `replay` command."""
    parser.add_argument("file", help="what `Recording.write` has written")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what a recording comes to; 0 if that agrees with what was recorded."""
    try:
        replay = replay_file(arguments.file)
    except (OSError, RecordingError) as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 2
    print(*report(replay), sep="\n")
    return 0 if replay.agrees else 1


def report(replay: Replay) -> list[str]:
    """Return lines for people."""
    machine = replay.machine
    span = f"{replay.began:,.3f} s to {machine.latest:,.3f} s by its event loop's clock"
    lines = [f"circuit {replay.circuit!r}: {replay.messages:,} messages, {span}"]
    lines += [_line(change) for change in replay.transitions]
    lines.append(_figures(machine))
    if replay.agrees:
        lines.append("every transition is as it was recorded")
    else:
        pairs = list(zip(replay.transitions, replay.recorded, strict=False))
        same = next((i for i, (now, then) in enumerate(pairs) if now != then), len(pairs))
        lines.append(f"not what was recorded, from transition {same + 1} on; it was:")
        lines += [_line(change) for change in replay.recorded[same:]]
    return lines


def _line(change: Change) -> str:
    at = f"{change.at:14,.3f} s "
    if isinstance(change, Reconfigured):
        return f"{at} policy: {_told(change.policy)}"
    because = "" if change.last_failure is None else f"  {change.last_failure}"
    return (
        f"{at} {change.from_state.value:>13} -> {change.to_state.value:13}"
        f"  period {change.period}, {change.failure_count} failures"
        f"{', metrics only' if change.metrics_only else ''}{because}"
    ).rstrip()


def _told(policy: Policy) -> str:
    """Return what sets a policy apart from the default one."""
    default = needed(Policy())
    own = {name: value for name, value in needed(policy).items() if value != default[name]}
    return ", ".join(f"{name}={value!r}" for name, value in own.items()) or "the default one"


def _figures(machine: Machine) -> str:
    policy = machine.policy
    in_a_row = policy.window_calls is None and policy.window_seconds is None
    measured = (
        f" (would be {machine.would_be.value}, and have refused {machine.would_have_refused:,})"
        if machine.metrics_only
        else ""
    )
    return (
        f"at the end: {machine.state.value}{measured},"
        f" {machine.failure_count} failures in {'a row' if in_a_row else 'the window'};"
        f" in all {machine.succeeded:,} succeeded, {machine.failed:,} failed,"
        f" {machine.ignored:,} ignored, {machine.cancelled:,} cancelled, {machine.stale:,} of them"
        f" too late to count; opened {machine.times_opened:,} times"
    )
