"""A real Prometheus server on loopback, where Debian's package `prometheus` is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

IS_HERE: Final = shutil.which("prometheus") is not None

PATIENCE: Final = 60.0
"""Seconds; nothing here waits for that long when all is well."""

Series = list[dict[str, Any]]


class Prometheus:
    """A server that scrapes, and answers queries."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, query: str, at: float | None = None) -> Series:
        """What a query comes to now, or at a time in seconds since the epoch."""
        return self._get("query", query=query, time=time.time() if at is None else at)

    def ask_from(self, query: str, start: float, end: float, step: float) -> Series:
        """What it comes to at each step of a range, in seconds."""
        return self._get("query_range", query=query, start=start, end=end, step=step)

    def values(self, query: str, label: str) -> dict[str, float]:
        """What it comes to now, by a label."""
        return {each["metric"].get(label, ""): float(each["value"][1]) for each in self.ask(query)}

    def _get(self, kind: str, **parameters: Any) -> Series:
        url = f"http://{self._address}/api/v1/{kind}?{urlencode(parameters)}"
        with urlopen(url, timeout=PATIENCE) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        series: Series = answer["data"]["result"]
        return series


@contextmanager
def prometheus(
    folder: Path, *targets: str, rules: Path | None = None, every: float = 1.0
) -> Iterator[Prometheus]:
    """A server that scrapes these addresses, as the job "demo", until the block ends.

    Args:
        folder: where its files go.
        targets: addresses, each a host and a port; the path is /metrics.
        rules: a file of alerts.
        every: seconds between two scrapes.
    """
    config = {
        "global": {"scrape_interval": f"{every:g}s", "evaluation_interval": f"{every:g}s"},
        "rule_files": [] if rules is None else [str(rules)],
        "scrape_configs": [{"job_name": "demo", "static_configs": [{"targets": targets}]}],
    }
    file = folder / "prometheus.json"  # which is YAML as well
    file.write_text(json.dumps(config))
    log = folder / "prometheus.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Prometheus(_address_in(log, process))
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _address_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until it is ready, and return where it listens."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        text = log.read_text()
        listens = re.search(r'msg="Listening on" address=(\S+)', text)
        if listens is not None and "ready to receive web requests" in text:
            return listens[1]
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus has not started:\n{log.read_text()}")
