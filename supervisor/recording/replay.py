"""Recordings played again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supervisor.errors import describe
from supervisor.machine import Machine, Told
from supervisor.recording.format import Turn, read_entry, read_start

BYTE_ORDER_MARK: Final = "\ufeff"
"""Some editors put it before the first line."""


class RecordingError(ValueError):
    """A file is no recording, or a damaged one; the message names the line."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a recording comes to when it is played again.

    Attributes:
        circuit: the circuit's name.
        began: the event loop's time, in seconds, at the beginning.
        clock_zero: when that clock was at 0, in seconds of Unix time.
        machine: the machine at the end; its policy is the recorded one, but for functions and
            types that judge errors and results, since what they said is what was recorded.
        messages: how many it has taken.
        transitions: what it did, changes of the policy included.
        recorded: what it did when it was recorded.
    """

    circuit: str
    began: float
    clock_zero: float
    machine: Machine
    messages: int
    transitions: list[Told]
    recorded: list[Told]

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
    with Path(path).open("rb") as file:  # decoded line by line, so that an error is in that line
        return replay_lines(file)


def replay_lines(lines: Iterable[str | bytes]) -> Replay:
    """Play a recording again, given its lines.

    Raises:
        RecordingError: they are not those of a recording.
    """
    lines = iter(lines)
    number, messages = 1, 0
    transitions: list[Told] = []
    recorded: list[Told] = []
    try:
        circuit, clock_zero, machine = read_start(
            _text_of(next(lines, "")).removeprefix(BYTE_ORDER_MARK)
        )
        began = machine.latest
        for line in lines:
            number += 1
            text = _text_of(line)
            if not text or text.isspace():
                continue
            entry = read_entry(text)
            if isinstance(entry, Turn):
                machine.advance(entry.at)
            elif isinstance(entry, Told):
                recorded.append(entry)
            else:
                machine.apply(entry)
                messages += 1
            transitions += machine.transitions
            machine.transitions.clear()
            machine.released = ()
    except OSError:
        raise
    except Exception as error:  # a damaged line may break whatever it gets into
        text = f"line {number} is not that of a recording: {describe(error)}"
        raise RecordingError(text) from error
    return Replay(circuit, began, clock_zero, machine, messages, transitions, recorded)


def _text_of(line: str | bytes) -> str:
    return line if isinstance(line, str) else line.decode("utf-8")
