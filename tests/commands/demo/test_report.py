"""The demo's table and picture."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from supervisor import CircuitState
from supervisor.commands.demo.figures import Figures, Latency
from supervisor.commands.demo.passes import Change, Pass
from supervisor.commands.demo.picture import draw, periods_of
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.report import duration, report
from supervisor.commands.demo.server import ServerReport

WITHOUT = Figures(
    requests=3639,
    dead_requests=2212,
    succeeded=1427,
    failed=408,
    rejected=0,
    failed_latency=Latency(1.113, 1.409),
    rejected_latency=None,
    times_opened=0,
    first_success=0.027,
    recovered=0.0271,
)
GUARDED = Figures(
    requests=1327,
    dead_requests=49,
    succeeded=1278,
    failed=49,
    rejected=1006,
    failed_latency=Latency(0.1027, 0.3465),
    rejected_latency=Latency(0.0000943, 0.000571),
    times_opened=19,
    first_success=0.13,
    recovered=None,
)
COUNTS = ServerReport(3.0, 7.0, 1.0, [5, 5, 5, 0, 0, 0, 0, 5, 5, 5], [0, 0, 0, 9, 9, 9, 9, 0, 0, 0])
CHANGES = (
    Change(3.5, "complete_chat", CircuitState.OPEN),
    Change(4.0, "search_tool", CircuitState.OPEN),
    Change(5.5, "complete_chat", CircuitState.HALF_OPEN),
    Change(6.0, "complete_chat", CircuitState.OPEN),
    Change(8.0, "complete_chat", CircuitState.HALF_OPEN),
    Change(8.5, "complete_chat", CircuitState.CLOSED),
)
PLAN = Plan(seconds=10.0)


def test_both_passes_side_by_side() -> None:
    """Each figure is in a row, without circuits on the left, in 80 columns."""
    file = io.StringIO()
    Console(file=file, width=80).print(report(Plan(), WITHOUT, GUARDED))
    text = file.getvalue()
    for row in (
        r"requests that hit the dead server +2,212 +49",
        r"requests in all +3,639 +1,327",
        r"calls that succeeded +1,427 +1,278",
        r"calls that failed +408 +49",
        r"latency, median / p99 +1\.11 s / 1\.41 s +103 ms / 346 ms",
        r"calls that were rejected +0 +1,006",
        r"latency, median / p99 +- +94 µs / 571 µs",
        r"circuits opened +0 +19",
        r"server back to first success +27 ms +130 ms",
        r"server back to recovered +27 ms +-",
    ):
        assert re.search(row + r" *\n", text), row
    assert "for 1 s, at least 95 % of the calls succeed" in " ".join(text.split())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (0.0000943, "94 µs"),
        (0.00123, "1.2 ms"),
        (0.0123, "12 ms"),
        (0.999, "999 ms"),
        (12.345, "12.35 s"),
    ],
)
def test_durations_as_people_read_them(seconds: float | None, text: str) -> None:
    """Two or three digits, in the unit that fits."""
    assert duration(seconds) == text


def test_the_periods_of_a_circuit() -> None:
    """They begin with the pass, CLOSED, and fill it without a gap."""
    measured = Pass(True, COUNTS, (), CHANGES)

    def periods(operation: str, state: CircuitState) -> list[tuple[float, float]]:
        return list(periods_of(PLAN, measured, operation, state))

    assert periods("complete_chat", CircuitState.CLOSED) == [(0.0, 3.5), (8.5, 1.5)]
    assert periods("complete_chat", CircuitState.OPEN) == [(3.5, 2.0), (6.0, 2.0)]
    assert periods("complete_chat", CircuitState.HALF_OPEN) == [(5.5, 0.5), (8.0, 0.5)]
    assert periods("search_tool", CircuitState.OPEN) == [(4.0, 6.0)]
    assert periods("store_memory", CircuitState.CLOSED) == [(0.0, 10.0)]


@pytest.mark.parametrize("counts", [COUNTS, ServerReport(3.0, 7.0, 1.0, [], [])])
def test_the_picture(tmp_path: Path, counts: ServerReport) -> None:
    """It is a PNG wide enough to read, with the states' colours, even if nothing was sent."""
    plan = Plan(seconds=10.0, output=tmp_path / "timeline.png")
    draw(plan, Pass(False, counts, (), ()), Pass(True, counts, (), CHANGES))
    pixels = imread(plan.output)
    assert pixels.shape[1] > 1500
    colours = {
        tuple(round(float(part) * 255) for part in pixel[:3])
        for pixel in pixels[::7, ::7].reshape(-1, pixels.shape[2])
    }
    for colour in ((0x9F, 0xD0, 0xEE), (0xD5, 0x5E, 0x00), (0xF0, 0xE4, 0x42)):
        assert colour in colours
