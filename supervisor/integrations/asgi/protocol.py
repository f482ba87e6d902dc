"""The types of ASGI 3, and what is read from a scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final, cast
from urllib.parse import unquote

from supervisor import Supervisor
from supervisor.integrations.asgi.history import History

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SUPERVISOR: Final = "supervisor"
_HISTORY: Final = "circuit_history"


def check_app(app: object) -> App:
    """Return `app` if it may be an ASGI application."""
    if not callable(app):
        raise TypeError(f"app must be an ASGI application, got {app!r}")
    return cast("App", app)


def hand_on(scope: Scope, supervisor: Supervisor, history: History) -> None:
    """Give them to the requests to come, by the state of a lifespan."""
    scope.setdefault("state", {}).update({_SUPERVISOR: supervisor, _HISTORY: history})


def supervisor_of(scope: Scope) -> Supervisor | None:
    """Return the supervisor that lives as long as the application, if there is one."""
    supervisor: Supervisor | None = scope.get("state", {}).get(_SUPERVISOR)
    return supervisor


def lived_of(scope: Scope) -> tuple[Supervisor, History]:
    """Return that supervisor, and the latest events of its circuits.

    Raises:
        RuntimeError: there is none.
    """
    state = scope.get("state", {})
    try:
        return state[_SUPERVISOR], state[_HISTORY]
    except KeyError:
        raise RuntimeError(
            'scope["state"] has no supervisor: wrap the application in a SupervisorMiddleware, and'
            " have its server (or test client) run the lifespan"
        ) from None


def paths_of(scope: Scope) -> Iterator[str]:
    """Yield what the path may be below that at which the application is mounted, best first.

    Some frameworks take the mount's own path away, others leave it there, as ASGI says. Litestar
    adds a slash at the end, and makes one of two: there, the path as it was sent has the last word.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if path == root or path.startswith(f"{root}/"):
        path = path[len(root) :]
    below = path.removeprefix("/")
    yield below
    yield below.removesuffix("/")
    sent: bytes = scope.get("raw_path") or b""
    yield unquote(sent.partition(b"?")[0].rpartition(b"/")[2])


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the value of a header, named in lower case; of the first one, if it came twice."""
    values = (value for key, value in scope["headers"] if key.lower() == name)
    value = next(values, None)
    return None if value is None else value.decode("latin-1")
