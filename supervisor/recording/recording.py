"""What a circuit's actor was told, in order, for a look at it afterwards.

A machine is a pure function of its messages. So a recording, played again, gives the same states
and transitions, on any machine and any event loop. It is written as JSON lines: one that says
whose it is and where it starts, then one for each message, turn and change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from supervisor.errors import Uncopied
from supervisor.machine import Machine, Message
from supervisor.recording.format import FORMAT, Entry, Turn, plain


class Recording(Uncopied):
    """The last messages of one circuit, and the changes that they have brought about.

    It keeps at least the last `limit` entries, as far as there are any, and at most twice as
    many and those of one turn.

    Attributes:
        circuit: the circuit's name.
        clock_zero: when its event loop's clock was at 0, in seconds of Unix time.
    """

    no_copies = "a Recording goes on"
    instead = "send its lines()"

    def __init__(
        self,
        circuit: str,
        machine: Machine,
        limit: int,
        catch_up: Callable[[], None],
        clock_zero: float,
    ) -> None:
        self.circuit = circuit
        self.clock_zero = clock_zero
        self._limit = limit
        self._catch_up = catch_up
        self._earlier: _Stretch | None = None
        self._latest = _Stretch(machine.copy())

    def turn_taken(self, messages: Sequence[Message], machine: Machine, at: float | None) -> None:
        """Keep what a turn has taken, as an observer of the actor's turns."""
        entries = self._latest.entries
        entries.extend(messages)
        if at is not None:
            entries.append(Turn(at))
        entries.extend(machine.transitions)
        if len(entries) >= self._limit:
            self._earlier, self._latest = self._latest, _Stretch(machine.copy())

    def lines(self) -> Iterator[str]:
        """Return the recording up to now as JSON lines, without their ends.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        self._catch_up()
        first = self._earlier or self._latest
        start = {
            "format": FORMAT,
            "circuit": self.circuit,
            "clock_zero": self.clock_zero,
            "policy": plain(first.start.policy),
            "machine": plain(first.start),
        }
        yield json.dumps(start, allow_nan=False)
        for stretch in (self._earlier, self._latest):
            for entry in stretch.entries if stretch else ():
                yield json.dumps({type(entry).__name__: plain(entry)}, allow_nan=False)

    def write(self, path: str | Path) -> None:
        """Write the recording to a file, for `python -m supervisor replay`.

        Raises:
            OSError: the file cannot be written.
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        Path(path).write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")


class _Stretch:
    def __init__(self, start: Machine) -> None:
        self.start = start
        self.entries: list[Entry] = []
