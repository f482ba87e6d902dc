"""Charts, as PNG and SVG: what a call costs on each backend, and how that grows."""

# ruff: noqa: RUF001  (the sign for times, and the dash between numbers, are meant)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.cases import CIRCUITS, TASKS
from benchmarks.goals import Results
from benchmarks.measure import BARE, Backend, Row
from supervisor.commands.pictures import FAINT, GUARDED, INK, LINES, WITHOUT

OURS: Final = ("call", "decorator", "context-manager", "permit")
FLOOR: Final = "#009e73"
PEER: Final = "#c9c9c9"
OWN: Final = "this package: "

WIDEST: Final = 3.0
"""Times the reference: a longer bar is cut off, and says so."""

SPACE: Final = 1.3
"""How much higher than a curve's name the next one's must be, on the log scale."""

CURVES: Final[Mapping[str, tuple[str, str, float]]] = {
    "inline": ("inlined, nothing else", FLOOR, 2.0),
    "lock": ("lock", WITHOUT, 2.0),
    "anyio-lock": ("anyio's lock", WITHOUT, 2.0),
    "call": ("this package", GUARDED, 3.0),
}


def draw(rows: Sequence[Row], backends: Sequence[Backend], folder: Path) -> list[Path]:
    """Draw what the rows have figures for, into that folder, and return the files."""
    found = Results(rows)
    files = []
    for backend in backends:
        if bars := _bars(rows, backend):
            files += _save(_overhead(backend, bars), folder, f"overhead-{backend}")
    grown = [backend for backend in backends if _curves(found, backend)]
    if grown:
        files += _save(_growth(found, grown), folder, "growth")
    return files


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        for file in files:
            metadata: dict[str, Any] = {"Date": None} if file.suffix == ".svg" else {}
            figure.savefig(file, bbox_inches="tight", pad_inches=0.25, metadata=metadata)
    return files


def _figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    write = partial(figure.text, 0.008, ha="left", va="bottom")
    write(1 + 0.42 / height, title, fontsize=20, fontweight="bold", color=INK)
    write(1 + 0.1 / height, subtitle, fontsize=13, color=FAINT)
    return figure


def _frame(axes: Any, axis: str) -> None:
    axes.set_frame_on(False)
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color=LINES, linewidth=0.8)
    axes.tick_params(length=0, labelsize=12, labelcolor=INK)
    axes.tick_params(which="minor", length=0)


def _bars(rows: Sequence[Row], backend: Backend) -> list[tuple[str, float]]:
    """Return every contestant's overhead of one successful call, the smallest first."""
    found = [
        (row.contestant, row.overhead.median * 1e6)
        for row in rows
        if (row.backend, row.case) == (backend, "success")
        and row.overhead is not None
        and row.contestant != BARE
    ]
    return sorted(found, key=lambda bar: bar[1])


def _overhead(backend: Backend, bars: Sequence[tuple[str, float]]) -> Figure:
    figure = _figure(
        12,
        0.36 * (len(bars) + 1.5),
        f"What a circuit breaker adds to a successful call on {backend}",
        "one task, circuit closed; CPU time per call beyond the unguarded call, medians",
    )
    _draw_bars(figure.subplots(), bars)
    return figure


def _draw_bars(axes: Any, bars: Sequence[tuple[str, float]]) -> None:
    costs = dict(bars)
    reference = next((name for name in ("lock", "anyio-lock") if name in costs), None)
    unit = costs[reference] if reference else max(costs.values())
    widest = unit * (WIDEST if reference == "lock" else 1.15)
    _frame(axes, "x")
    for place, (name, cost) in enumerate(bars):
        colour = _colour(name)
        axes.barh(place, min(cost, widest), height=0.7, color=colour, linewidth=0)
        text = f"{cost:.2f} µs"
        if reference:
            text += f"  {cost / unit:.2f} × {reference}"
        if cost > widest:
            text += "  (bar cut off)"
        weight = "bold" if name in OURS else "normal"
        place_of_text = max(min(cost, widest), 0.0) + widest * 0.008
        box = {"facecolor": "white", "linewidth": 0, "pad": 1}
        write = partial(axes.text, place_of_text, place, text, va="center", bbox=box)
        write(fontsize=11, color=INK, weight=weight)
    if reference:
        axes.axvline(unit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    labels = [OWN + name if name in OURS else name for name, _ in bars]
    axes.set(yticks=range(len(bars)), yticklabels=labels, ylim=(len(bars) - 0.4, -0.6))
    axes.set(xlim=(0, widest * 1.3))
    axes.set_xlabel("µs per call", fontsize=12, color=INK)


def _colour(name: str) -> str:
    if name in OURS:
        return GUARDED
    return {"lock": WITHOUT, "anyio-lock": WITHOUT, "inline": FLOOR}.get(name, PEER)


def _curves(results: Results, backend: Backend) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the points of every contestant's curve, by what grows, and then by its name."""
    present = dict.fromkeys(name for where, _, name in results.rows if where == backend)
    names = [name for name in present if name in CURVES or name not in OURS]
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for what, sizes in (("tasks", TASKS), ("circuits", CIRCUITS)):
        for name in names:
            points = [
                (size, overhead * 1e6)
                for size in sizes
                if (overhead := results.overhead(backend, f"{what}-{size}", name)) is not None
                and overhead > 0
            ]
            if len(points) > 1:
                found.setdefault(what, {})[name] = points
    return found


def _growth(results: Results, backends: Sequence[Backend]) -> Figure:
    figure = _figure(
        12,
        3.4 * len(backends),
        "How the cost of a call grows",
        "successful calls; CPU time per call beyond the unguarded call, medians; log scales;"
        " thin lines: other libraries",
    )
    panels = figure.subplots(len(backends), 2, squeeze=False, sharey=True)
    for row, backend in zip(panels, backends, strict=True):
        curves = _curves(results, backend)
        for axes, what in zip(row, ("tasks", "circuits"), strict=True):
            _draw_curves(axes, curves.get(what, {}))
            axes.set_title(f"{backend}: {what}", loc="left", fontsize=14, color=INK)
            if backend == backends[-1]:
                axes.set_xlabel(f"{what} at the same time", fontsize=12, color=INK)
        row[0].set_ylabel("µs per call", fontsize=12, color=INK)
    return figure


def _draw_curves(axes: Any, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    _frame(axes, "both")
    axes.set(xscale="log", yscale="log", xlim=(0.8, 80_000))
    axes.set(xticks=TASKS, xticklabels=[f"{size:,}" for size in TASKS])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    heights = _heights({name: curves[name][-1][1] for name in CURVES if name in curves})
    for name, points in sorted(curves.items(), key=lambda curve: curve[0] in CURVES):
        label, colour, width = CURVES.get(name, (name, PEER, 1.2))
        sizes, costs = zip(*points, strict=True)
        axes.plot(sizes, costs, color=colour, linewidth=width, marker="o", markersize=width * 1.6)
        if name in CURVES:
            write = partial(axes.text, sizes[-1] * 1.25, heights[name], va="center", fontsize=11)
            write(label, color=colour, weight="bold" if name == "call" else "normal")


def _heights(ends: Mapping[str, float]) -> dict[str, float]:
    """Return where to write each name, so that no two are in one place on the log scale."""
    heights: dict[str, float] = {}
    lowest = 0.0
    for name, cost in sorted(ends.items(), key=lambda end: end[1]):
        heights[name] = max(cost, lowest)
        lowest = heights[name] * SPACE
    return heights
