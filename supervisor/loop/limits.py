"""What must not be asked of a loop of asyncio's, since not every one knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

LONGEST_TIMER: Final = 1e9
"""Seconds, thirty years: what is longer, infinity above all, is no time at all for some loops."""


def is_closed(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` is closed, as far as it says so."""
    try:
        return loop.is_closed()
    except (AttributeError, NotImplementedError):
        return False


def is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` runs; one that does not say so may be running at any time."""
    try:
        return loop.is_running()
    except (AttributeError, NotImplementedError):
        return True
