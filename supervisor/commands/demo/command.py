"""The sub-command's arguments, and how it ends."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Final, get_args

from supervisor.commands.demo.clients import check_client
from supervisor.commands.demo.plan import Backend, ClientName, DemoError, Plan, UnusableError
from supervisor.commands.ending import INTERRUPTED, UNUSABLE
from supervisor.commands.extra import advice
from supervisor.commands.readers import number, whole_number
from supervisor.settings import SettingsError

MOST_WORKERS: Final = 500
"""Each takes a connection; systems allow for a thousand open files or so."""

SHORTEST: Final = 2.0
"""Seconds; 40 % of them are the outage, which has to outlast some retries."""


MOST_PROCESSES: Final = 16

AGENTS_OF_A_PROCESS: Final = 10
"""By default: so few that a process needs a while to learn of an outage by its own calls."""

FLEETS_OUTPUT: Final = Path("fleet-demo.svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`, and what runs it."""
    default = Plan()
    add = parser.add_argument
    add("--backend", choices=get_args(Backend), help=f"the event loop, {default.backend}")
    add(
        "--workers",
        type=whole_number(1, MOST_WORKERS),
        metavar="N",
        help=f"agents at work, {default.workers}",
    )
    add("--seconds", type=_seconds, default=default.seconds, metavar="S", help="length of a pass")
    add("--output", type=_output, metavar="PNG", help=f"the picture's file, {default.output}")
    add(
        "--client",
        choices=get_args(ClientName),
        help="call by this package's client, guarded by itself; by default, circuits of the"
        " retry decorators guard",
    )
    add(
        "--fleet",
        type=whole_number(2, MOST_PROCESSES),
        metavar="N",
        help="processes, on asyncio and trio in turn: each by itself, and then sharing a circuit",
    )
    add(
        "--store",
        metavar="URL",
        help="the server of Redis's or Valkey's that the fleet shares it through; by default,"
        " one is started for it",
    )
    parser.set_defaults(run=run)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return what the arguments ask for.

    Raises:
        UnusableError: some of them do not go with each other.
    """
    given, default = arguments, Plan()
    if given.fleet is None:
        if given.store is not None:
            raise UnusableError("--store goes with --fleet only")
        return Plan(
            given.backend or default.backend,
            given.workers or default.workers,
            given.seconds,
            given.output or default.output,
            given.client,
        )
    for option in ("backend", "client"):
        if getattr(given, option) is not None:
            raise UnusableError(f"--{option} does not go with --fleet, whose loops are both kinds")
    workers = given.workers or AGENTS_OF_A_PROCESS * given.fleet
    if workers < given.fleet:
        raise UnusableError(f"--workers {workers} are too few for --fleet {given.fleet}")
    return Plan(
        workers=workers,
        seconds=given.seconds,
        output=given.output or FLEETS_OUTPUT,
        fleet=given.fleet,
        store=given.store,
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and return the exit status."""
    status = 0
    try:
        _show(plan_of(arguments))
    except* KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        status = INTERRUPTED
    except* BrokenPipeError:
        raise  # whoever has read enough is told of no error
    except* UnusableError as errors:
        print(errors.exceptions[0], file=sys.stderr)
        status = UNUSABLE
    except* (DemoError, SettingsError, OSError) as errors:
        print(errors.exceptions[0], file=sys.stderr)
        status = 1
    return status


def _show(plan: Plan) -> None:
    check_client(plan)
    try:  # it needs the extra
        if plan.fleet:
            from supervisor.commands.demo.fleet.show import show  # noqa: PLC0415
        else:
            from supervisor.commands.demo.show import show  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise DemoError(advice("the demo", missing)) from None
    show(plan)


def _seconds(text: str) -> float:
    seconds = number(text)
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
