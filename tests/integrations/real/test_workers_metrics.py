"""Two workers of uvicorn behind one port: whichever is scraped tells the figures of both."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.documents import ROOT
from tests.support.prometheus import IS_HERE, prometheus

PATIENCE: Final = 120.0
"""Seconds, on the slowest machine; nothing here waits for that long when all is well."""

SITE: Final = "tests.integrations.real.metrics_site:app"


class Workers:
    """The service, and what its clients have seen of it.

    Attributes:
        address: its host and port.
        seen: what has come of calls, by process and outcome.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.seen: Counter[tuple[int, str]] = Counter()

    def get(self, path: str) -> str:
        """By a connection of its own, which any of them may accept."""
        response = httpx.get(f"http://{self.address}{path}", timeout=PATIENCE, trust_env=False)
        assert response.status_code == 200, response.text
        return response.text

    def call(self, outcome: str) -> None:
        pid, seen = self.get(f"/call/{outcome}").split()
        self.seen[int(pid), seen] += 1

    @property
    def pids(self) -> set[int]:
        """Those that have been called."""
        return {pid for pid, _ in self.seen}

    def total(self, outcome: str) -> int:
        return sum(count for (_, seen), count in self.seen.items() if seen == outcome)

    def scrape(self) -> dict[str, float]:
        """Each series of `payments` that is not 0, by its name, and the value of its last label."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics/")):
            for sample in family.samples:
                labels = {**sample.labels}
                if labels.pop("circuit") == "payments" and sample.value:
                    found[" ".join((sample.name, *labels.values()))] = sample.value
        return found

    def tells(self, **expected: float) -> bool:
        """Whether it is told how calls have ended, and in which states the circuits are."""
        found = self.scrape()
        calls = {
            f"circuit_calls_total {outcome}": self.total(outcome)
            for outcome in ("succeeded", "failed")
        }
        calls["circuit_refusals_total forced_open"] = self.total("refused")
        states = {f"circuit_state {state}": value for state, value in expected.items()}
        wanted = {series: value for series, value in (calls | states).items() if value}
        asked = ("circuit_calls_total", "circuit_refusals_total", "circuit_state")
        return {s: value for s, value in found.items() if s.startswith(asked)} == wanted


@contextmanager
def two_workers(folder: Path) -> Iterator[Workers]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--workers", "2", "--log-level", "warning"),
                *("--timeout-worker-healthcheck", f"{PATIENCE:g}"),
                *("--fd", str(listener.fileno()), SITE),
            ],
            cwd=ROOT,
            pass_fds=(listener.fileno(),),
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        )
    try:
        yield Workers(f"127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes of itself."""
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends, "it has not come"
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def call_both(workers: Workers) -> None:
    """Make calls until each of the two has had some of either kind."""

    def both() -> bool:
        for outcome in ("succeeded", "failed"):
            workers.call(outcome)
        return len(workers.seen) == 4

    until(both)


def test_each_scrape_tells_of_both(tmp_path: Path) -> None:
    """Calls are added up, also those of a worker that has ended; each state counts of either."""
    with two_workers(tmp_path) as workers:
        call_both(workers)
        until(lambda: workers.tells(closed=1))
        opened = int(workers.get("/open"))
        until(lambda: workers.tells(closed=1, forced_open=1))

        def refused_there() -> bool:
            workers.call("succeeded")
            return workers.seen[opened, "refused"] >= 3

        until(refused_there)
        until(lambda: workers.tells(closed=1, forced_open=1))
        (other,) = workers.pids - {opened}
        os.kill(other, signal.SIGTERM)  # uvicorn starts another one in its place
        until(lambda: has_ended(other))
        until(lambda: bool(workers.call("succeeded")) or len(workers.pids) == 3)
        until(lambda: workers.tells(closed=1, forced_open=1))


@pytest.mark.skipif(not IS_HERE, reason="Debian's package prometheus has the server")
def test_a_real_prometheus(tmp_path: Path) -> None:
    """It scrapes either, and answers for both."""
    figures, data = tmp_path / "figures", tmp_path / "prometheus"
    for folder in (figures, data):
        folder.mkdir()
    with two_workers(figures) as workers, prometheus(data, workers.address) as server:
        call_both(workers)
        wanted = {outcome: workers.total(outcome) for outcome in ("succeeded", "failed")}
        wanted |= {"ignored": 0, "cancelled": 0}
        until(lambda: server.values("sum by (outcome) (circuit_calls_total)", "outcome") == wanted)
        workers.get("/open")
        states = 'circuit_state{circuit="payments"} == 1'
        until(lambda: set(server.values(states, "state")) == {"closed", "forced_open"})
