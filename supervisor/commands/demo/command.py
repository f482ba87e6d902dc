"""The sub-command's arguments, and how it ends."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Final, get_args

from supervisor.commands.demo.clients import UnusableClientError, check_client
from supervisor.commands.demo.plan import Backend, ClientName, DemoError, Plan
from supervisor.commands.ending import INTERRUPTED, UNUSABLE
from supervisor.commands.extra import advice
from supervisor.settings import SettingsError

MOST_WORKERS: Final = 500
"""Each takes a connection; systems allow for a thousand open files or so."""

SHORTEST: Final = 2.0
"""Seconds; 40 % of them are the outage, which has to outlast some retries."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`, and what runs it."""
    default = Plan()
    add = parser.add_argument
    add("--backend", choices=get_args(Backend), default=default.backend, help="the event loop")
    add("--workers", type=_workers, default=default.workers, metavar="N", help="agents at work")
    add("--seconds", type=_seconds, default=default.seconds, metavar="S", help="length of a pass")
    add("--output", type=_output, default=default.output, metavar="PNG", help="the picture's file")
    add(
        "--client",
        choices=get_args(ClientName),
        help="call by this package's client, guarded by itself; by default, circuits of the"
        " retry decorators guard",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and return the exit status."""
    plan = Plan(
        arguments.backend,
        arguments.workers,
        arguments.seconds,
        arguments.output,
        arguments.client,
    )
    status = 0
    try:
        _show(plan)
    except* KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        status = INTERRUPTED
    except* BrokenPipeError:
        raise  # whoever has read enough is told of no error
    except* UnusableClientError as errors:
        print(errors.exceptions[0], file=sys.stderr)
        status = UNUSABLE
    except* (DemoError, SettingsError, OSError) as errors:
        print(errors.exceptions[0], file=sys.stderr)
        status = 1
    return status


def _show(plan: Plan) -> None:
    check_client(plan)
    try:
        from supervisor.commands.demo.show import show  # noqa: PLC0415  (it needs the extra)
    except ModuleNotFoundError as missing:
        raise DemoError(advice("the demo", missing)) from None
    show(plan)


def _workers(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= SHORTEST):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of at least {SHORTEST:g}, which an outage has room in"
        )
    return seconds


def _output(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not a file that can be written")
    return path
