"""The sub-command's arguments, and how it ends."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Final, get_args

from supervisor.commands.ending import INTERRUPTED, UNUSABLE
from supervisor.commands.extra import advice
from supervisor.commands.readers import number
from supervisor.commands.top.plan import Plan, Sorting, TopError

VARIABLE: Final = "BINDU_TOP_HEADER"
"""The environment's way to say `--header`, which other users of the machine do not see."""

SHORTEST, LONGEST = 0.1, 3600.0
"""Seconds between two readings."""

_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e]*)")
"""RFC 9110, 5.1 and 5.5, in ASCII."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `top`, and what runs it."""
    default = Plan(())
    add = parser.add_argument
    add("urls", metavar="URL", nargs="+", help="where a process has mounted its CircuitsApp")
    add("--once", action="store_true", help="print one table, after two readings, and end")
    add(
        "--interval",
        type=_interval,
        default=default.interval,
        metavar="S",
        help="seconds between two readings",
    )
    add(
        "--sort",
        choices=get_args(Sorting),
        default=default.sorting,
        help="the order among circuits that need the same attention",
    )
    add("--filter", default=default.pattern, metavar="PATTERN", help="only circuits such as 'db:*'")
    add(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help=f"sent to each URL; may be repeated. Put a secret one into {VARIABLE}, since other"
        " users of the machine see arguments",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show circuits, and return the exit status."""
    status = 0
    try:
        status = _show(
            Plan(
                urls=tuple(arguments.urls),
                headers=tuple(headers_of(arguments.header)),
                interval=arguments.interval,
                sorting=arguments.sort,
                pattern=arguments.filter,
                once=arguments.once,
            )
        )
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* TopError as errors:
        print(errors.exceptions[0], file=sys.stderr)
        status = UNUSABLE
    return status


def _show(plan: Plan) -> int:
    try:
        from supervisor.commands.top.show import show  # noqa: PLC0415  (it needs the extra)
    except ModuleNotFoundError as missing:
        raise TopError(advice("top", missing, "top")) from None
    return show(plan)


def headers_of(given: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield names and values of headers: the environment's, and those of `--header`.

    Raises:
        TopError: one of them is none. It is not repeated, since it may be a secret.
    """
    from_environment = os.environ.get(VARIABLE)
    sources = [] if from_environment is None else [(VARIABLE, from_environment)]
    sources += [("--header", each) for each in given]
    for source, text in sources:
        header = _HEADER.fullmatch(text)
        if header is None:
            raise TopError(f"{source} is no header: write it as 'Authorization: Bearer ...'")
        yield header[1], header[2]


def _interval(text: str) -> float:
    seconds = number(text)
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from {SHORTEST:g} to {LONGEST:g}"
        )
    return seconds
