"""Tests of code that has circuits in it: virtual time, and what happened to the circuits.

Uses public names of the package only. uvloop and trio are imported when they are asked for.

    backends       which event loop a test runs on, in virtual time; clock, how that goes on
    asyncio_time   asyncio's own loop; uvloop_time and trio_time, the others; pump, any loop's
    circuits       what circuits went through, and how to be rid of them
    plugin         fixtures for pytest: a module of its own where the package is installed
"""

from supervisor.testing.asyncio_time import VirtualTimeLoop
from supervisor.testing.backends import (
    Backend,
    jump,
    loop_factory,
    run_in_virtual_time,
    virtual_time,
)
from supervisor.testing.circuits import (
    Transitions,
    clear_circuits,
    default_settings,
    disabled_circuits,
)

__all__ = [
    "Backend",
    "Transitions",
    "VirtualTimeLoop",
    "clear_circuits",
    "default_settings",
    "disabled_circuits",
    "jump",
    "loop_factory",
    "run_in_virtual_time",
    "virtual_time",
]
