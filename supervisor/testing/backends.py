"""Virtual time by the name of what it is for: asyncio, uvloop or trio."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeVar, TypeVarTuple, get_args

import anyio

from supervisor.testing.asyncio_time import VirtualTimeLoop
from supervisor.testing.clock import check_patience

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Backend = Literal["asyncio", "uvloop", "trio"]
"""What virtual time is there for; uvloop is an event loop of asyncio's."""


def virtual_time(
    backend: Backend = "asyncio", *, patience: float | None = None
) -> tuple[str, dict[str, Any]]:
    """Return what anyio calls the backend, and its options, for one run in virtual time.

    An `anyio_backend` fixture may return it, and `anyio.run` takes it apart, as
    `anyio.run(main, backend=name, backend_options=options)`.

    Args:
        backend: "asyncio", "uvloop" or "trio".
        patience: real seconds, 0 or more, for which time waits before every jump; see
            `VirtualTimeLoop`. None: a second while a worker thread works, else not at all.

    Raises:
        ImportError: uvloop is asked for, and not installed.
        ValueError: the backend is unknown; `patience` is negative, infinite or not a number.
    """
    if backend == "trio":
        from supervisor.testing.trio_time import trio_options  # noqa: PLC0415  (if it is asked for)

        return "trio", trio_options(check_patience(patience))
    return "asyncio", {"loop_factory": loop_factory(backend, patience=patience)}


def loop_factory(
    backend: Literal["asyncio", "uvloop"] = "asyncio", *, patience: float | None = None
) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops in virtual time, for whatever takes a `loop_factory`.

    Raises:
        ImportError: uvloop is asked for, and not installed.
        ValueError: the backend is unknown; `patience` is negative, infinite or not a number.
    """
    loop_class: Callable[..., asyncio.AbstractEventLoop] = VirtualTimeLoop
    if backend == "uvloop":
        from supervisor.testing.uvloop_time import VirtualTimeUvloop  # noqa: PLC0415

        loop_class = VirtualTimeUvloop
    elif backend not in get_args(Backend):
        known = ", ".join(get_args(Backend))
        raise ValueError(f"backend must be one of {known}, got {backend!r}")
    return loop_class if patience is None else partial(loop_class, check_patience(patience))


def run_in_virtual_time(
    main: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    backend: Backend = "asyncio",
    patience: float | None = None,
) -> T:
    """Run `main(*args)` on an event loop of its own whose time starts at 0.

    Raises:
        ImportError, ValueError: see `virtual_time`.
        RuntimeError: an event loop runs in this thread already.
        TypeError: `main` is what an async function has returned, and not the function.
    """
    given: object = main
    if inspect.iscoroutine(given):
        given.close()  # or it would warn that nobody has awaited it
        raise TypeError(
            f"run_in_virtual_time needs an async function, got a coroutine: pass {given.__name__},"
            f" not {given.__name__}()"
        )
    name, options = virtual_time(backend, patience=patience)
    return anyio.run(main, *args, backend=name, backend_options=options)


def jump(seconds: float) -> None:
    """Let virtual time pass at once, as if somebody had blocked the event loop so long.

    Whoever waits for a time that has passed then goes on when the event loop has its next turn.

    Raises:
        RuntimeError: no event loop runs here in virtual time.
        ValueError: `seconds` is negative.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        clock: object = trio.lowlevel.current_clock()
    else:
        try:
            clock = asyncio.get_running_loop()
        except RuntimeError:
            clock = None
    jump = getattr(clock, "jump", None)
    if jump is None:
        raise RuntimeError("no event loop runs here in virtual time; see virtual_time()")
    jump(seconds)
