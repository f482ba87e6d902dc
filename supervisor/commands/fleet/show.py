"""What is seen, and when; what is done by hand."""

from __future__ import annotations

import json
import sys
from typing import Final

import anyio

from supervisor.commands.fleet.documents import change_of, document_of, done
from supervisor.commands.fleet.plan import FleetError, Order, Plan
from supervisor.commands.fleet.source import asked, link_to, look
from supervisor.commands.fleet.words import lines_of, report, state_of
from supervisor.commands.texts import printable
from supervisor.commands.top.words import word_of
from supervisor.machine import CircuitState
from supervisor.sharing import Epoch, Forcing, Link, News, Sharing, Sight

PATIENCE: Final = 5.0
"""Seconds for which news is waited for at a time."""

AGAIN: Final = 1.0
"""Seconds before another try to reach a store that is followed, and was lost."""

FORGOTTEN: Final = ", but does not remember all that has happened"
"""Of a store that comes back empty, or from an old copy."""

MISSED: Final = "what comes next is not all that has happened"


async def show(plan: Plan, sharing: Sharing) -> None:
    """Show a fleet, or do something to it by hand.

    Raises:
        FleetError: the store cannot be reached, or there is no fleet.
    """
    async with link_to(plan, sharing) as link:
        sight = await look(plan, link)
        if plan.order is not None:
            await _obey(plan, plan.order, link, sight)
            return
        past = await asked(plan, link.past(plan.history)) if plan.history else []
        if plan.as_json:
            print(json.dumps(document_of(plan, sight, past), indent=None if plan.follow else 2))
        else:
            print(*report(sight, past, plan.space), sep="\n")
    if plan.follow:
        await _follow(plan, sharing, max([sight.latest, *(each.epoch for each in past)]))


async def _obey(plan: Plan, order: Order, link: Link, sight: Sight) -> None:
    was = state_of(sight.circuits.get(order.circuit))
    if was is not order.state:
        await asked(plan, link.take(Forcing(order.circuit, order.state), sight.latest))
    if plan.as_json:
        print(json.dumps(done(order, was)))
        return
    word = "released" if order.state is CircuitState.CLOSED else word_of(order.state)
    told = f"{word} for all, was {word_of(was)}"
    if was is order.state:
        told = f"{word_of(was)} for all already"
    print(printable(f"{order.circuit}: {told}"))


async def _follow(plan: Plan, sharing: Sharing, heard: Epoch) -> None:
    """Print a line for each change, until this is cancelled; go on when a lost store is back."""
    print(end="", flush=True)  # what was printed before
    is_lost = False
    while True:
        try:
            async with link_to(plan, sharing) as link:
                latest = (await asked(plan, link.look())).latest
                if is_lost:
                    is_lost = False
                    _say(f"{plan}: it answers again" + (FORGOTTEN if latest < heard else ""))
                heard = min(heard, latest)
                while True:
                    for news in await asked(plan, link.news(heard, PATIENCE)):
                        _tell(plan, news, heard)
                        heard = news.epoch
        except FleetError as error:
            if not is_lost:
                _say(f"{error}; trying again")
            is_lost = True
        await anyio.sleep(AGAIN)


def _say(text: str) -> None:
    """Say that apart from what is shown, which may be read by a program."""
    print(printable(text), file=sys.stderr, flush=True)


def _tell(plan: Plan, news: News, heard: Epoch) -> None:
    if plan.as_json:
        print(json.dumps(change_of(news)))
    else:
        if news.before > heard:
            print(MISSED)
        print(*lines_of([news]), sep="\n")
    print(end="", flush=True)  # for whoever reads it as it comes
