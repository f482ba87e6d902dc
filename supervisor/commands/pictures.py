"""What pictures have in common: colours, and what they use of matplotlib.

The latter has types here, since its own leave the keyword arguments open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

from matplotlib import rc_context  # pyright: ignore[reportUnknownVariableType]
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from supervisor.machine import CircuitState

INK: Final = "#2b2b2b"
FAINT: Final = "#6f6f6f"
LINES: Final = "#dddddd"
OUTAGE: Final = "#f0ece6"
WITHOUT: Final = "#5a5a5a"
GUARDED: Final = "#0072b2"

# After Okabe and Ito, whose colours people with any kind of colour vision can tell apart.
STATES: Final[Mapping[CircuitState, tuple[str, str]]] = {
    CircuitState.CLOSED: ("closed: calls pass", "#9fd0ee"),
    CircuitState.OPEN: ("open: calls are rejected at once", "#d55e00"),
    CircuitState.HALF_OPEN: ("half-open: one call probes the server", "#f0e442"),
}


class Axes(Protocol):
    """A pair of axes; `style` is matplotlib's."""

    def stairs(self, values: Sequence[float], edges: Sequence[float], **style: Any) -> object:
        """Draw a step for each value."""
        ...

    def axvspan(self, xmin: float, xmax: float, **style: Any) -> object:
        """Shade a period."""
        ...

    def broken_barh(
        self, xranges: Sequence[tuple[float, float]], yrange: tuple[float, float], **style: Any
    ) -> object:
        """Draw bars of (start, width), all at the same height."""
        ...

    def scatter(self, x: Sequence[float], y: Sequence[float], **style: Any) -> object:
        """Draw a mark at each place."""
        ...

    def set_title(self, label: str, **style: Any) -> object:
        """Write above."""
        ...

    def set_xlabel(self, xlabel: str, **style: Any) -> object:
        """Write below."""
        ...

    def text(self, x: float, y: float, s: str, **style: Any) -> object:
        """Write."""
        ...

    def legend(self, **style: Any) -> object:
        """Explain what has a label."""
        ...

    def set(self, **properties: Any) -> object:
        """Set limits, labels and ticks."""
        ...

    def tick_params(self, **style: Any) -> None:
        """Style the ticks."""
        ...

    def grid(self, **style: Any) -> None:
        """Draw grid lines."""
        ...

    def set_frame_on(self, b: bool) -> None:
        """Show the frame, or hide it."""
        ...

    def set_axisbelow(self, b: bool) -> None:
        """Draw the grid behind everything else."""
        ...


class Drawing(Protocol):
    """A figure without pyplot, and so without any state beside it."""

    def subplots(self, nrows: int, **layout: Any) -> Sequence[Axes]:
        """Return axes, one above the other."""
        ...

    def savefig(self, fname: Path, **form: Any) -> None:
        """Write the file."""
        ...


def drawing(**style: Any) -> Drawing:
    """Return an empty figure."""
    figure = Figure(**style)
    FigureCanvasAgg(figure)
    return cast("Drawing", figure)


def save(figure: Drawing, file: Path) -> None:
    """Write a figure as SVG or, by any other suffix than `.svg`, as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    form, metadata = ("svg", {"Date": None}) if file.suffix == ".svg" else ("png", {})
    style: dict[str, Any] = {"format": form, "metadata": metadata}
    # The same picture is the same file.
    with rc_context({"svg.hashsalt": "supervisor", "svg.fonttype": "none"}):
        figure.savefig(file, bbox_inches="tight", pad_inches=0.25, **style)
    if form == "svg":
        file.write_text(_compact(file.read_text(encoding="utf-8")), encoding="utf-8")


def _compact(svg: str) -> str:
    """Return a picture whose paths have two digits after the point; no more can be seen."""
    return _PATHS.sub(lambda path: _DIGITS.sub(r"\1", path[0]), svg)


_PATHS: Final = re.compile(r'<path( id="\w+")? d="[^"]*"')
_DIGITS: Final = re.compile(r"(\.\d\d)\d+")
