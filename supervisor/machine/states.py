"""The states of a circuit, and who brings them about."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal


class CircuitState(str, Enum):  # noqa: UP042  (StrEnum's str() differs; callers log it)
    """Whether a circuit lets calls through; equal to the string of its value.

    The first three follow each other by the policy. The others are set by hand, and last until
    the circuit is released, or FORCED_OPEN for a time; they are resilience4j's.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


UNGUARDED: Final = (CircuitState.FORCED_CLOSED, CircuitState.DISABLED)
"""Admit every call, whatever comes of it."""

REFUSING: Final = (CircuitState.OPEN, CircuitState.FORCED_OPEN)
"""Refuse every call until their time has come, if it ever does."""

BY_HAND: Final = (*UNGUARDED, CircuitState.FORCED_OPEN, CircuitState.METRICS_ONLY)
"""Last until the circuit is released, or as long as they were set for."""

Origin = Literal["here", "fleet", "by hand"]
"""Who brings a state about: the circuit's own calls and time, the fleet that it is shared with, or
somebody by hand.
"""
