"""Recordings played again: `python -m supervisor replay FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supervisor.machine import Machine
from supervisor.messages import (
    Acquire,
    CircuitState,
    Grant,
    Outcome,
    Reset,
    Settle,
    Transition,
    Withdraw,
)
from supervisor.policy import Policy
from supervisor.recording import FORMAT, Entry, Turn, plain, state_of


class RecordingError(ValueError):
    """A file is no recording, or a damaged one; the message names the line."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a recording comes to when it is played again.

    Attributes:
        circuit: the circuit's name.
        began: the event loop's time, in seconds, at the beginning.
        machine: the machine at the end.
        messages: how many it has taken.
        transitions: what it did.
        recorded: what it did when it was recorded.
    """

    circuit: str
    began: float
    machine: Machine
    messages: int
    transitions: list[Transition]
    recorded: list[Transition]

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
    transitions: list[Transition] = []
    recorded: list[Transition] = []
    try:
        circuit, machine = _start(json.loads(next(lines, "")))
        began = machine.latest
        for line in lines:
            number += 1
            entry = _entry(json.loads(line))
            match entry:
                case Transition():
                    recorded.append(entry)
                case Turn():
                    machine.advance(entry.at)
                case _:
                    machine.apply(entry)
                    messages += 1
            transitions += machine.transitions
            machine.transitions.clear()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
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
    lines += [_line(transition) for transition in replay.transitions]
    lines.append(
        f"at the end: {machine.state.value}, {machine.failure_count} failures in a row;"
        f" in all {machine.succeeded:,} succeeded, {machine.failed:,} failed,"
        f" {machine.ignored:,} ignored, {machine.cancelled:,} cancelled, {machine.stale:,} of them"
        f" too late to count; opened {machine.times_opened:,} times"
    )
    if replay.agrees:
        lines.append("every transition is as it was recorded")
    else:
        pairs = list(zip(replay.transitions, replay.recorded, strict=False))
        same = next((i for i, (now, then) in enumerate(pairs) if now != then), len(pairs))
        lines.append(f"not what was recorded, from transition {same + 1} on; it was:")
        lines += [_line(transition) for transition in replay.recorded[same:]]
    return lines


def _line(transition: Transition) -> str:
    because = "" if transition.last_failure is None else f"  {transition.last_failure}"
    return (
        f"{transition.at:14,.3f} s  {transition.from_state.value:>9} ->"
        f" {transition.to_state.value:9}  period {transition.period},"
        f" {transition.failure_count} failures{because}"
    ).rstrip()


def _start(content: dict[str, Any]) -> tuple[str, Machine]:
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']!r}, not {FORMAT}")
    machine = Machine(Policy(**content["policy"]))
    state, fresh = content["machine"], plain(state_of(machine))
    if wrong := state.keys() ^ fresh.keys():
        raise ValueError(f"missing or unknown: {', '.join(sorted(wrong))}")
    for name, value in fresh.items():
        if value is not None and type(state[name]) is not type(value):
            raise TypeError(f"{name} is {state[name]!r}")
    vars(machine).update(state, state=CircuitState(state["state"]), probes=dict(state["probes"]))
    machine.grant = Grant(machine.period)
    return content["circuit"], machine


def _entry(content: dict[str, dict[str, Any]]) -> Entry:
    ((kind, fields),) = content.items()
    return _KINDS[kind](fields)


def _settle(fields: dict[str, Any]) -> Settle:
    fields["outcome"] = Outcome(fields["outcome"])
    return Settle(**fields)


def _transition(fields: dict[str, Any]) -> Transition:
    for side in ("from_state", "to_state"):
        fields[side] = CircuitState(fields[side])
    return Transition(**fields)


_KINDS: Final[Mapping[str, Callable[[dict[str, Any]], Entry]]] = {
    "Acquire": lambda fields: Acquire(**fields),
    "Settle": _settle,
    "Withdraw": lambda fields: Withdraw(**fields),
    "Reset": lambda fields: Reset(**fields),
    "Turn": lambda fields: Turn(**fields),
    "Transition": _transition,
}
