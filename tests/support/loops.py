"""Event loops that the tests run on when they are told to, besides those of every day."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from supervisor.testing import VirtualTimeLoop
from supervisor.testing.pump import Pump

NewLoop = Callable[[], asyncio.AbstractEventLoop]

OTHERS: Final = ("loopmini", "zuvloop", "rloop", "rsloop", "nest_asyncio2")
"""Packages that have a loop of asyncio's, or change its own."""


def eager(new_loop: NewLoop) -> asyncio.AbstractEventLoop:
    """Return a loop whose tasks begin while they are made."""
    loop = new_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    return loop


def in_virtual_time(package: str) -> NewLoop:
    """Return what makes loops of that package's in virtual time."""
    module: Any = importlib.import_module(package)
    if package == "nest_asyncio2":
        return partial(_nested, module)
    loop = module.new_event_loop()
    loop.close()
    bases = (
        (Pump, _real(type(loop))) if isinstance(loop, asyncio.BaseEventLoop) else (Pump, type(loop))
    )
    return type(f"VirtualTime{type(loop).__name__}", bases, {})


def changed(options: dict[str, Any], package: str | None, is_eager: bool) -> dict[str, Any]:
    """Return the options of a run of asyncio's on such a loop instead."""
    new_loop = options["loop_factory"] if package is None else in_virtual_time(package)
    return {"loop_factory": partial(eager, new_loop) if is_eager else new_loop}


def _real(other: Any) -> Any:
    """Return a class whose `call_later` does not call what the pump puts in front of `call_at`."""

    class Real(other):  # type: ignore[misc]
        def call_later(self, delay: float, *args: Any, **options: Any) -> Any:
            return super().call_at(super().time() + delay, *args, **options)

    return Real


def _nested(module: Any) -> asyncio.AbstractEventLoop:
    loop = VirtualTimeLoop()
    module.apply(loop)
    return loop
