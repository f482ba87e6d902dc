"""Where tables are shown."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Terminal(Console):
    """A console that tells of a closed pipe; rich's own ends the process, with a status of 1."""

    def on_broken_pipe(self) -> NoReturn:
        """Let the command end as all others do."""
        raise BrokenPipeError
