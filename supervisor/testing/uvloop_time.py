"""Virtual time for uvloop."""

from __future__ import annotations

import uvloop

from supervisor.testing.pump import Pump


class VirtualTimeUvloop(Pump, uvloop.Loop):  # type: ignore[misc]
    """`VirtualTimeLoop` for uvloop."""
