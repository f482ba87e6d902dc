"""How a fleet stands, and what has happened to it, as JSON; times are by the store's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from supervisor.commands.fleet.plan import Order, Plan
from supervisor.commands.fleet.words import shown_of, state_of
from supervisor.machine import CircuitState
from supervisor.sharing import News, Record, Sight, Standing

_TOLD: Final = ("state", "until", "seconds", "failed_recoveries", "failure", "owner")


def document_of(plan: Plan, sight: Sight, past: Sequence[News]) -> dict[str, Any]:
    """Return all that is to be seen."""
    return {
        "server": plan.server,
        "space": plan.space,
        "now": sight.now,
        "members": [
            {"owner": owner, "beat": at, "age": round(sight.now - at, 3)}
            for owner, at in sorted(sight.members.items())
        ],
        "circuits": [
            {"circuit": name, **_standing(standing)} for name, standing in shown_of(sight)
        ],
        "history": [change_of(news) for news in past],
    }


def change_of(news: News) -> dict[str, Any]:
    """Return what has happened; without a state, a probe has ended, or nobody can read it."""
    at = news.epoch.milliseconds / 1000
    return {"at": at, "epoch": _epoch(news), "circuit": news.circuit or None, **_told(news.record)}


def done(order: Order, was: CircuitState) -> dict[str, Any]:
    """Return what was done by hand."""
    return {"circuit": order.circuit, "state": order.state.value, "was": was.value}


def _standing(standing: Standing) -> dict[str, Any]:
    record = standing.record
    return {
        **_told(record),
        "state": state_of(standing).value,
        "since": None if record is None else record.epoch.milliseconds / 1000,
        "won": standing.won,
        "leases": [{"token": token, "until": at} for token, at in standing.leases.items()],
        "votes": [{"owner": owner, "until": at} for owner, at in standing.votes.items()],
    }


def _told(record: Record | None) -> dict[str, Any]:
    if record is None:
        return dict.fromkeys(_TOLD)
    return {
        "state": record.state.value,
        "until": record.until if record.state is CircuitState.OPEN else None,
        "seconds": record.seconds,
        "failed_recoveries": record.failed_recoveries,
        "failure": record.failure,
        "owner": record.owner,
    }


def _epoch(news: News) -> str:
    return f"{news.epoch.milliseconds}-{news.epoch.number}"
