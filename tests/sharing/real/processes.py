"""Processes of a fleet, one on each event loop, and what becomes of them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from supervisor.testing import Backend
from tests.sharing.real.servers import wait_until
from tests.support.generated import ROOT

PATIENCE: Final = 120.0
"""Seconds in which a process answers, however busy the machine is."""


class Worker:
    """A process on an event loop, as `worker` says.

    Args:
        backend: its event loop.
        ahead: seconds by which its wall clock is.

    Attributes:
        ended: whether it was killed.
    """

    def __init__(self, backend: Backend, ahead: float = 0.0) -> None:
        command = [sys.executable, "-m", "tests.sharing.real.worker", backend, str(ahead)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self.ended = False

    def ask(self, what: str, *arguments: object) -> Any:
        """Let it do something, and return its answer."""
        self.tell(what, *arguments)
        return self.answer()

    def tell(self, what: str, *arguments: object) -> None:
        """Let it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *arguments]).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for its answer to what it was told first."""
        output = self._process.stdout
        assert output is not None
        assert select.select([output], [], [], PATIENCE)[0], "a process does not answer"
        line = output.readline()
        assert line, "a process has ended"
        return json.loads(line)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self.ended = True
        self._process.kill()
        self._process.wait(PATIENCE)
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()

    def freeze(self) -> None:
        """Let it do nothing, until it is let go on."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)


class Crew:
    """A process on each event loop, all of which live on from test to test if they can."""

    def __init__(self) -> None:
        self._workers: dict[Backend, Worker] = {}

    def on(self, backends: Sequence[Backend]) -> list[Worker]:
        """Return those on these event loops, in order."""
        new = [each for each in backends if each not in self._workers or self._workers[each].ended]
        self._workers |= {each: Worker(each) for each in new}
        for each in new:
            assert self._workers[each].answer() == "ready"
        return [self._workers[each] for each in backends]

    def kill(self) -> None:
        """End all of them."""
        for each in self._workers.values():
            each.kill()


class Fleet:
    """Processes that share circuits.

    Attributes:
        workers: those that are there.
    """

    def __init__(
        self,
        workers: list[Worker],
        urls: Sequence[str],
        options: dict[str, Any],
        policy: dict[str, Any],
    ) -> None:
        self.workers = workers
        for each, url in zip(workers, urls, strict=True):
            each.tell("join", url, options, {"failure_threshold": 1, **policy})
        for each in workers:
            each.answer()
        self.until_linked()

    def kill(self, worker: Worker) -> None:
        """End one of them at once."""
        worker.kill()
        self.workers.remove(worker)

    def of_all(self, what: str, *arguments: object) -> list[Any]:
        """Ask all of them the same, at the same time."""
        for each in self.workers:
            each.tell(what, *arguments)
        return [each.answer() for each in self.workers]

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until that is so."""
        wait_until(holds, PATIENCE)

    def until_all(self, state: str, *circuits: str) -> None:
        """Wait until these circuits are in that state everywhere."""
        expected = [{state: len(circuits)}] * len(self.workers)
        self.until(lambda: self.of_all("states", *circuits) == expected)

    def until_linked(self, linked: bool = True) -> None:
        """Wait until all know how things stand in the store, or none reaches it."""
        self.until(lambda: self.of_all("linked") == [linked] * len(self.workers))

    def until_lost_and_found(self) -> None:
        """Wait until all have lost the store, and found it again; each is told once, in turn."""
        self.until(lambda: all(len(links) >= 3 for links in self.of_all("links")))
        self.until_linked()
        for links in self.of_all("links"):
            assert links == [("FleetJoined", "FleetLost")[at % 2] for at in range(len(links))]


@contextmanager
def joined(
    workers: list[Worker], url: str | Sequence[str], *, policy: dict[str, Any], **options: Any
) -> Iterator[Fleet]:
    """Those processes as a fleet; if anything goes wrong, they are not used again."""
    urls = [url] * len(workers) if isinstance(url, str) else url
    try:
        fleet = Fleet(list(workers), urls, options, policy)
        yield fleet
        fleet.of_all("leave")
    except BaseException:
        for each in workers:
            each.kill()
        raise
