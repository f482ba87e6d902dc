"""Whether the process lives, and whether it is ready: for whoever restarts it or sends requests."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import islice
from typing import Final

import anyio.lowlevel

from supervisor import CircuitState, Statistics, Supervisor
from supervisor.integrations.asgi.protocol import Receive, Scope, Send, lived_of, supervisor_of
from supervisor.integrations.asgi.replies import HttpApp, Reply, document, problem

_AT_A_TIME: Final = 50
"""Circuits that are looked at before the event loop has its next turn."""

_ENDED: Final = "the supervisor has ended, so that guarded calls are refused: restart the process"


class Liveness(HttpApp):
    """Answers 200 at whatever path, also if circuits are open: a restart would close none of them.

    It answers 503 once the supervisor of a `SupervisorMiddleware` has ended since it has given up a
    circuit: nothing but a restart helps then.
    """

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say whether the process lives."""
        ended = _has_ended(supervisor_of(scope))
        reply = problem(503, _ENDED) if ended else document({"status": "alive"})
        await reply(scope, receive, send)


class Readiness(HttpApp):
    """Answers 200 at whatever path, or 503 while one of the chosen circuits refuses every call.

    The 503 is a problem (RFC 9457) whose member `open` names those circuits. One that is half-open
    is ready, since it needs calls to recover. Nor is anything amiss with one that was not called
    yet.

    It needs a `SupervisorMiddleware` around the application.

    Args:
        circuits: names, or patterns such as "db:*" (those of `fnmatch`), of the circuits without
            which the process is of no use. None: it is always ready.

    Raises:
        TypeError, ValueError: one of them is no string, or empty.
    """

    def __init__(self, *circuits: str) -> None:
        for each in circuits:
            _check(each)
        self._circuits = circuits

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say whether the process is ready."""
        reply = await self._reply(scope)
        await reply(scope, receive, send)

    async def _reply(self, scope: Scope) -> Reply:
        supervisor, _ = lived_of(scope)
        refusing = await self._refusing(supervisor)
        if _has_ended(supervisor):
            return problem(503, _ENDED)
        if not refusing:
            return document({"status": "ready"})
        return problem(503, "circuits are open without which this is of no use", open=refusing)

    async def _refusing(self, supervisor: Supervisor) -> list[str]:
        """Return the chosen circuits that are open, with turns for others in between."""
        refusing: list[str] = []
        left = iter(list(supervisor))
        while names := list(islice(left, _AT_A_TIME)):
            refusing += [
                name
                for name in filter(self._is_chosen, names)
                if name in supervisor and _refuses(supervisor[name].statistics(), supervisor)
            ]
            await anyio.lowlevel.checkpoint()
        return refusing

    def _is_chosen(self, name: str) -> bool:
        return any(name == each or fnmatchcase(name, each) for each in self._circuits)


def _refuses(figures: Statistics, supervisor: Supervisor) -> bool:
    given_up = not figures.running and supervisor.on_give_up == "refuse"
    return given_up or figures.state in (CircuitState.OPEN, CircuitState.FORCED_OPEN)


def _has_ended(supervisor: Supervisor | None) -> bool:
    return supervisor is not None and supervisor.ended


def _check(circuit: object) -> None:
    if not isinstance(circuit, str):
        raise TypeError(f"circuits must be names or patterns, got {circuit!r}")
    if not circuit:
        raise ValueError("circuits must be names or patterns, got an empty one")
