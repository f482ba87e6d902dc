"""Draw the dashboard with what a real Prometheus answers to its queries during the demo:
`python -m tests.docs.dashboard docs/images/dashboard.png`.

It needs Debian's package `prometheus`, and some minutes. It stands in for Grafana, which would have
to be installed: the panels, their places, queries, legends, units and colours are those of
`docs/monitoring/dashboard.json`; what they look like is matplotlib's.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from prometheus_client import CollectorRegistry, start_http_server

from supervisor import Supervisor
from supervisor.commands.demo.passes import Remote, run_pass
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.process import server_process
from supervisor.instrumentation.prometheus import CircuitCollector
from tests.docs.documents import DOCS
from tests.support.prometheus import Prometheus, Series, prometheus

PLAN: Final = Plan(workers=60, seconds=80.0)
LENGTH: Final = 1.6 * PLAN.seconds
"""Seconds: one outage and its end, and most of another one, in the middle of which one looks."""

VARIABLES: Final = {
    "$__rate_interval": "8s",
    "$__interval": "2s",
    "$job": ".*",
    "$circuit": ".*",
}
"""What Grafana puts into a query."""

COLOURS: Final = {
    "green": "#4c9f5b",
    "yellow": "#e3c13a",
    "orange": "#e08a2d",
    "red": "#c9423f",
    "purple": "#8a5fb0",
    "blue": "#3f78c1",
}
OTHERS: Final = ("#3f78c1", "#e08a2d", "#4c9f5b", "#c9423f", "#8a5fb0", "#7c6a5a")
"""Of series that have none of their own."""

ROW: Final = 0.42
"""Inches for each unit of a panel's height."""


def main(picture: str) -> None:
    """Run the demo, and draw what is known of it."""
    panels = json.loads((DOCS / "monitoring" / "dashboard.json").read_text("utf-8"))["panels"]
    registry = CollectorRegistry()
    registry.register(CircuitCollector())
    exporter, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
    address = f"127.0.0.1:{exporter.server_port}"
    with (
        TemporaryDirectory() as folder,
        prometheus(Path(folder), address) as server,
        server_process() as url,
    ):
        began = time.time()
        anyio.run(demo, Remote.at(url))
        draw(panels, server, began, time.time(), picture)


async def demo(remote: Remote) -> None:
    """Let the demo's agents work, with circuits, for as long as there is to see."""

    async def nobody(_: object) -> None:
        """Look on."""

    with anyio.move_on_after(LENGTH):
        while True:
            async with Supervisor() as supervisor:
                await run_pass(PLAN, True, remote, supervisor, nobody)


def draw(
    panels: list[dict[str, Any]], server: Prometheus, began: float, ended: float, picture: str
) -> None:
    """Put each panel into its place."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(15, ROW * rows), facecolor="#f4f5f5")
    FigureCanvasAgg(figure)
    for panel in panels:
        place = panel["gridPos"]
        below = 0.5 if panel["type"] == "stat" else 2.2  # the legend is there
        names = 0.09 if panel["type"] == "state-timeline" else 0.035
        axes = figure.add_axes(
            (
                place["x"] / 24 + names,
                1 - (place["y"] + place["h"] - below) / rows,
                place["w"] / 24 - names - 0.015,
                (place["h"] - below - 0.9) / rows,
            )
        )
        axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold")
        axes.tick_params(labelsize=7, length=2)
        KINDS[panel["type"]](axes, panel, server, began, ended)
    figure.savefig(picture, dpi=80)


def stat(axes: Any, panel: dict[str, Any], server: Prometheus, _: float, ended: float) -> None:
    """One number, on the colour of its threshold."""
    (value,) = (
        float(each["value"][1])
        for target in panel["targets"]
        for each in server.ask(filled(target["expr"]), ended)
    )
    defaults = panel["fieldConfig"]["defaults"]
    steps = defaults["thresholds"]["steps"]
    colour = [each["color"] for each in steps if each["value"] is None or value >= each["value"]][
        -1
    ]
    text = f"{100 * value:.1f} %" if defaults["unit"] == "percentunit" else f"{value:g}"
    axes.set_facecolor(COLOURS[colour])
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=20, color="white")
    axes.set_xticks([])
    axes.set_yticks([])


def timeline(
    axes: Any, panel: dict[str, Any], server: Prometheus, began: float, ended: float
) -> None:
    """A bar for each series, in the colours of its values."""
    step = 1.0
    (target,) = panel["targets"]
    series = answers(target, server, began, ended, step)
    mappings = [each["options"] for each in panel["fieldConfig"]["defaults"]["mappings"]]
    for row, values in enumerate(series.values()):
        for at, value in values:
            (kind,) = (each for each in mappings if each["from"] <= value <= each["to"])
            bar = [(at - began, step)]
            axes.broken_barh(bar, (row - 0.4, 0.8), color=COLOURS[kind["result"]["color"]])
    axes.set_yticks(range(len(series)), series, fontsize=7)
    show_time(axes, ended - began)
    for kind in mappings:
        result = kind["result"]
        axes.plot([], [], "s", color=COLOURS[result["color"]], label=result["text"])
    legend(axes)


def timeseries(
    axes: Any, panel: dict[str, Any], server: Prometheus, began: float, ended: float
) -> None:
    """Lines, areas or bars, upon each other if the panel says so."""
    style = panel["fieldConfig"]["defaults"]["custom"]
    own = {
        each["matcher"]["options"]: COLOURS[each["properties"][0]["value"]["fixedColor"]]
        for each in panel["fieldConfig"]["overrides"]
    }
    stacked, bars = style["stacking"]["mode"] == "normal", style["drawStyle"] == "bars"
    step = 8.0 if bars else 1.0
    base: dict[float, float] = {}
    for target in panel["targets"]:
        for name, values in answers(target, server, began, ended, step).items():
            colour = own.get(name) or OTHERS[len(axes.get_legend_handles_labels()[1]) % len(OTHERS)]
            times = [at - began for at, _ in values]
            low = [base.get(at, 0.0) if stacked else 0.0 for at, _ in values]
            high = [value + under for (_, value), under in zip(values, low, strict=True)]
            if bars:
                heights = [value for _, value in values]
                axes.bar(times, heights, step * 0.8, low, color=colour, label=name)
            elif stacked:
                axes.fill_between(times, low, high, color=colour, alpha=0.7, lw=0, label=name)
            else:
                axes.plot(times, high, color=colour, lw=1.2, label=name)
            base |= {at: top for (at, _), top in zip(values, high, strict=True)}
    if not axes.has_data():
        axes.text(0.5, 0.5, "No data", ha="center", transform=axes.transAxes, fontsize=9)
    show_time(axes, ended - began)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color="#e2e2e2", lw=0.5)
    if panel["fieldConfig"]["defaults"]["unit"] == "percentunit":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_ylim(0, 1.05)
    legend(axes)


KINDS: Final = {"stat": stat, "state-timeline": timeline, "timeseries": timeseries}


def answers(
    target: Mapping[str, Any], server: Prometheus, began: float, ended: float, step: float
) -> dict[str, list[tuple[float, float]]]:
    """What a query comes to over time, by the names in the legend."""
    series: Series = server.ask_from(filled(target["expr"]), began, ended, step)
    return {
        named(target["legendFormat"], each["metric"]): [
            (float(at), float(value)) for at, value in each["values"]
        ]
        for each in series
    }


def filled(query: str) -> str:
    """A query without variables."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A legend without them."""
    return re.sub(r"{{(\w+)}}", lambda label: labels.get(label[1], ""), legend)


def show_time(axes: Any, seconds: float) -> None:
    """Show all of it."""
    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_formatter("{x:.0f} s")


def legend(axes: Any) -> None:
    """Write it below."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=3, fontsize=6.5, frameon=False
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
