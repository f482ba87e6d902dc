"""What pictures have in common: colours, and what they use of matplotlib.

The latter has types here, since its own leave the keyword arguments open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

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
