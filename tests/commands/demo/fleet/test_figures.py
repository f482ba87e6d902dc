"""What a pass comes to: the figures, the table, and the picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from supervisor.commands.demo.fleet.diary import (
    Call,
    Change,
    Diary,
    Done,
    Fact,
    Ready,
    line_of,
    read_fact,
)
from supervisor.commands.demo.fleet.figures import FleetFigures
from supervisor.commands.demo.fleet.passes import FleetPass
from supervisor.commands.demo.fleet.picture import draw
from supervisor.commands.demo.fleet.report import report
from tests.commands.demo.fleet.diaries import (
    CLOSED,
    COUNTS,
    HALF_OPEN,
    OPEN,
    PLAN,
    diaries,
    measured,
)

FACTS: list[Fact] = [
    Ready(True),
    Call(1.25, "rejected", False),
    Change(2.5, HALF_OPEN, "fleet"),
    Done(),
]


def test_figures() -> None:
    """Late is what was sent after the first opening; probes are counted by themselves."""
    assert FleetFigures.of(measured(True)) == FleetFigures(
        dead_requests=4,
        late_requests=1,
        probes=3,
        rejected=2,
        opened_within=0.5,
        closed_within=2.0,
    )


def test_figures_of_what_did_not_happen() -> None:
    """A process that has not opened, or is not closed in the end, leaves a dash."""
    first, second = diaries()
    halves = replace(second, changes=second.changes[:2]), replace(second, changes=[])
    not_closed, not_opened = (
        FleetFigures.of(FleetPass(False, COUNTS, (first, half))) for half in halves
    )
    assert (not_closed.opened_within, not_closed.closed_within) == (0.5, None)
    assert (not_opened.opened_within, not_opened.closed_within) == (None, None)
    nobody = FleetFigures.of(FleetPass(False, COUNTS, (Diary(1, "trio"),)))
    assert nobody == FleetFigures(4, 0, 0, 0, None, None)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_is_a_line(fact: Fact) -> None:
    """It arrives as it was told."""
    line = line_of(fact)
    assert "\n" not in line
    assert read_fact(line) == fact


def test_a_diary_is_written_line_by_line() -> None:
    """It knows what the process has told, and that it has ended."""
    diary = Diary(1, "trio")
    diary.write(map(line_of, FACTS))
    ready, call, change, _ = FACTS
    assert diary == Diary(1, "trio", ready, [change], [call], done=True, ended=True)  # type: ignore[arg-type, list-item]


def test_what_nobody_can_read_ends_a_diary() -> None:
    """The process cannot be trusted any more."""
    diary = Diary(1, "trio")
    with pytest.raises(ValueError, match="Expecting value"):
        diary.write(["Segmentation fault"])
    assert (diary.ended, diary.done) == (True, False)


def test_states_and_periods() -> None:
    """A circuit is closed first, and is in one state at each time."""
    first, _ = diaries()
    assert [first.state_at(at) for at in (0.0, 3.4, 3.5, 6.1, 9.9)] == [
        CLOSED,
        CLOSED,
        OPEN,
        HALF_OPEN,
        CLOSED,
    ]
    assert first.periods(CLOSED, 10.0) == [(0.0, 3.5), (8.0, 2.0)]
    assert first.periods(OPEN, 10.0) == [(3.5, 2.5), (6.5, 1.0)]
    assert first.periods(HALF_OPEN, 10.0) == [(6.0, 0.5), (7.5, 0.5)]


def test_both_passes_side_by_side() -> None:
    """Each figure is in a row, without sharing on the left, in 80 columns."""
    file = io.StringIO()
    alone = FleetFigures(1037, 12, 15, 161, 1.15, None)
    shared = FleetFigures(16, 0, 4, 177, 0.0203, 0.135)
    Console(file=file, width=80).print(report(PLAN, alone, shared))
    text = file.getvalue()
    assert "8 agents in 2 processes, a server that is dead for 4.0 s" in text
    for row in (
        r"requests that hit the dead server +1,037 +16",
        r"after a circuit had opened, no probes +12 +0",
        r"probes +15 +4",
        r"calls that were rejected +161 +177",
        r"first opening to last process +1\.15 s +20 ms",
        r"server back to closed in all +- +135 ms",
    ):
        assert re.search(row + r" *\n", text), row


def test_the_picture_as_svg(tmp_path: Path) -> None:
    """It names both passes, all processes and figures, and is the same each time."""
    plan = replace(PLAN, output=tmp_path / "fleet.svg")
    pictures: list[str] = []
    for _ in range(2):
        draw(plan, measured(False), measured(True))
        pictures.append(plan.output.read_text(encoding="utf-8"))
    text = pictures[0]
    assert pictures[1] == text
    for words in ("without sharing", "with sharing", "process 1, asyncio", "process 2, trio"):
        assert f">{words}</text>" in text
    said = "4 requests hit the dead server, 3 probes; last process knows after 500 ms"
    assert text.count(said) == 2


def test_the_picture_as_png(tmp_path: Path) -> None:
    """Whatever else the file is called."""
    plan = replace(PLAN, output=tmp_path / "fleet")
    draw(plan, measured(False), measured(True))
    with plan.output.open("rb") as file:
        assert imread(file).shape[1] > 1500
