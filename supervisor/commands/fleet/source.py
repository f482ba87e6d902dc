"""A link to the store, and what is wrong if there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from supervisor.commands.fleet.plan import FleetError, Plan
from supervisor.commands.texts import printable
from supervisor.errors import describe
from supervisor.sharing import NEVER, Link, Sharing, Sight

T = TypeVar("T")

_MEANING: Final[Mapping[str, str]] = {
    "TimeoutError": "no answer in time",
    "AuthenticationError": "the user or the password is missing or wrong",
    "AuthorizationError": "this user is not allowed to",
    "WrongTypeError": "what is there is no fleet's",
    "InvalidResponse": "that is no server of Redis or Valkey",
    "ReadOnlyError": "that is a replica; name the primary",
}
"""By the names of errors, and of what they are a kind of: their client need not be installed."""

_IN_SCRIPT: Final = ("ACL failure", "user executing the script can't run")
"""What Valkey and Redis say in a plain error if the script may not do something."""


@asynccontextmanager
async def link_to(plan: Plan, sharing: Sharing) -> AsyncGenerator[Link]:
    """Connect, as nobody who is a member: there is no sign of life.

    Raises:
        FleetError: the store cannot be reached.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:by hand"
    own: Exception | None = None  # what the block has met, which clients would put into groups
    has_ended = False
    try:
        async with sharing.connect(owner) as link:
            try:
                yield link
            except Exception as error:
                own = error
            has_ended = True
    except Exception as error:
        if not has_ended:  # else all has been said and done
            raise _lost(plan, error) from error
    if own is not None:
        raise own


async def asked(plan: Plan, answer: Awaitable[T]) -> T:
    """Return what the store answers.

    Raises:
        FleetError: whatever has gone wrong.
    """
    try:
        return await answer
    except Exception as error:
        raise _lost(plan, error) from error


async def look(plan: Plan, link: Link) -> Sight:
    """Return how the fleet stands.

    Raises:
        FleetError: the store does not answer, or there is no fleet.
    """
    sight = await asked(plan, link.look())
    if not sight.members and not sight.circuits and sight.latest == NEVER:
        raise FleetError(
            f"{plan}: no supervisor shares circuits there; are URL, database and --space right?"
        )
    return sight


def _lost(plan: Plan, error: Exception) -> FleetError:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if any(text in str(error) for text in _IN_SCRIPT):
        kinds = ["AuthorizationError"]
    meaning = next((_MEANING[kind] for kind in kinds if kind in _MEANING), None)
    text = describe(error).removesuffix(": ")  # some errors say nothing but what they are
    told = text if meaning is None else f"{meaning} ({text})"
    return FleetError(printable(f"{plan}: {told}"))
