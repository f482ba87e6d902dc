"""All processes of the benchmark, and what is told to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from supervisor.commands.demo.process import kept_process, tell

Child = subprocess.Popen[str]


class ProblemError(Exception):
    """A process could not do what it was told."""


class Crew:
    """Processes on one kind of event loop."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children

    def tell(self, members: Sequence[Child], do: str, **arguments: Any) -> None:
        """Tell some of them to do something."""
        for child in members:
            tell(child, json.dumps({"do": do, **arguments}))

    def hear(self, members: Sequence[Child]) -> list[Any]:
        """Return what each of them says next.

        Raises:
            ProblemError: one of them could not do it, or is gone.
        """
        return [_said(child) for child in members]

    def ask(self, do: str, members: Sequence[Child] | None = None, **arguments: Any) -> list[Any]:
        """Tell some of them, or all, to do something, and return what comes of it."""
        asked = self.children if members is None else members
        self.tell(asked, do, **arguments)
        return self.hear(asked)

    @contextmanager
    def connected(
        self, who: str, url: str, members: Sequence[Child] | None = None
    ) -> Generator[None, None, None]:
        """Connect some of them, or all, for the length of the block."""
        self.ask("connect", members, who=who, url=url)
        try:
            yield
        finally:
            self.ask("disconnect", members, who=who)


def _said(child: Child) -> Any:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise ProblemError("a process has ended")
    said = json.loads(line)
    if isinstance(said, dict) and "problem" in said:
        raise ProblemError(said["problem"])
    return said


@contextmanager
def crew(backend: str, processes: int) -> Generator[Crew, None, None]:
    """Start processes on an event loop, which end with the block."""
    with ExitStack() as stack:
        children = [
            stack.enter_context(kept_process("benchmarks.fleet.worker", "run"))
            for _ in range(processes)
        ]
        for child in children:
            tell(child, backend)
        yield Crew(children)
