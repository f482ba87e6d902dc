"""The sub-command's arguments, and how it ends."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import anyio

from supervisor.arguments import check_name
from supervisor.commands.ending import UNUSABLE
from supervisor.commands.fleet.plan import HISTORY, FleetError, Order, Plan
from supervisor.commands.fleet.show import show
from supervisor.commands.readers import whole_number
from supervisor.commands.texts import printable
from supervisor.machine import CircuitState
from supervisor.settings import app_settings
from supervisor.sharing import RedisSharing

MOST_HISTORY: Final = 10_000
"""Changes that a store keeps at least."""

TIMEOUT: Final = 5.0
"""Seconds that the store has for an answer: nobody's calls wait for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fleet`, and what runs it."""
    add = parser.add_argument
    add(
        "url",
        metavar="URL",
        nargs="?",
        help="where the store is, such as redis://localhost:6379/0; by default what"
        " BINDU_CB_SHARING_URL says, which is the place for a password, since other users of the"
        " machine see arguments",
    )
    add("--space", metavar="NAME", help="which fleet; by default as BINDU_CB_SHARING_SPACE says")
    add(
        "--history",
        type=whole_number(0, MOST_HISTORY),
        default=HISTORY,
        metavar="N",
        help=f"the latest changes, 0 to {MOST_HISTORY}",
    )
    add("--json", action="store_true", help="print JSON")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--follow", action="store_true", help="go on with a line for each change, until Ctrl-C"
    )
    instead.add_argument("--force-open", metavar="CIRCUIT", help="let it refuse all calls, for all")
    instead.add_argument(
        "--release", metavar="CIRCUIT", help="end what was set by hand for all, and close it"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show a fleet, and return the exit status."""
    try:
        plan, sharing = _asked_for(arguments)
        anyio.run(show, plan, sharing)
    except FleetError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    return 0


def _asked_for(arguments: argparse.Namespace) -> tuple[Plan, RedisSharing]:
    """Return what to show, and where that is.

    Raises:
        FleetError: an argument or a setting is of no use, or a package is missing.
    """
    try:
        url, space = arguments.url, arguments.space
        if url is None:
            url = _url_of_settings()
        if space is None:
            space = app_settings.circuit_breaker.sharing_space
        sharing = RedisSharing(url, space=space, timeout=TIMEOUT)
        return (
            Plan(
                sharing.where,
                space,
                arguments.history,
                follow=arguments.follow,
                as_json=arguments.json,
                order=_order(arguments),
            ),
            sharing,
        )
    except ModuleNotFoundError as error:
        raise FleetError(error.msg) from None
    except (TypeError, ValueError) as error:
        raise FleetError(printable(str(error))) from None


def _url_of_settings() -> str:
    url = app_settings.circuit_breaker.sharing_url
    if url is None:
        raise ValueError("name the URL of the store, or set BINDU_CB_SHARING_URL")
    return url.get_secret_value()


def _order(arguments: argparse.Namespace) -> Order | None:
    if arguments.force_open is not None:
        return Order(check_name(arguments.force_open), CircuitState.FORCED_OPEN)
    if arguments.release is not None:
        return Order(check_name(arguments.release), CircuitState.CLOSED)
    return None
