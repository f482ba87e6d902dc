"""Recordings played again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor.machine import Change, Machine, Reconfigured, Transition
from supervisor.recording.format import Turn, read_entry, read_start


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
