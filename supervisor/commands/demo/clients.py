"""The clients that agents call by, and the guards that there are for them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

from supervisor.commands.demo.plan import Plan, UnusableError

FAILURE_THRESHOLD = 5


class AgentClient(Protocol):
    """An agent's own connection to the server, open during its block."""

    async def __aenter__(self) -> object:
        """Open it."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        ...

    async def post(self, path: str, body: dict[str, Any]) -> int:
        """Send one request, and return the status of the answer.

        Raises:
            CircuitBreakerOpenError: a circuit has refused it; it was not sent.
            ConnectionError: the server could not be reached.
        """
        ...


class HttpxClient:
    """A client of httpx or httpx2.

    Args:
        package: which of the two.
        client: the client, an `AsyncClient`.
    """

    def __init__(self, package: Any, client: Any) -> None:
        self._lost = package.TransportError
        self._client = client

    async def __aenter__(self) -> object:
        """Open its connections."""
        return await self._client.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close them."""
        await self._client.__aexit__(kind, error, traceback)

    async def post(self, path: str, body: dict[str, Any]) -> int:
        """Send one request, and return the status of the answer; see `AgentClient`."""
        try:
            response = await self._client.post(path, json=body)
        except self._lost as error:
            raise ConnectionError(f"{path}: {error!r}") from error
        status: int = response.status_code
        return status


def check_client(plan: Plan) -> None:
    """Refuse a client that is not there, or does not run on the event loop of the plan.

    Raises:
        UnusableError: the client cannot be used.
    """
    if plan.client is None:
        return
    if plan.client == "aiohttp" and plan.backend == "trio":
        raise UnusableError("--client aiohttp runs on asyncio, and not on --backend trio")
    try:
        _guards_of(plan)
    except ModuleNotFoundError as missing:
        if missing.name != plan.client:
            raise
        raise UnusableError(
            f"--client {plan.client} needs {plan.client}: pip install {plan.client}"
        ) from None


def new_client(
    plan: Plan, guarded: bool, url: str, circuit_of: Callable[[Any], str]
) -> AgentClient:
    """Return a client of the plan's kind for one agent, perhaps with the guard that it has.

    Args:
        circuit_of: tells the circuit of a client's request.
    """
    policy = {
        "circuit": circuit_of,
        "failure_threshold": FAILURE_THRESHOLD,
        "recovery_timeout": plan.recovery_timeout(1.0),
    }
    aiohttps = "supervisor.commands.demo.aiohttp_client"
    new = import_module(aiohttps).new_client if plan.client == "aiohttp" else _new_httpx_client
    client: AgentClient = new(_guards_of(plan), url, policy if guarded else None)
    return client


def _new_httpx_client(guards: Any, url: str, policy: dict[str, Any] | None) -> AgentClient:
    package = import_module(guards.__name__.rpartition(".")[2])
    transport = own_transport(package)
    if policy is not None:
        transport = guards.CircuitTransport(transport, **policy)
    return HttpxClient(
        package, package.AsyncClient(base_url=url, transport=transport, trust_env=False)
    )


def own_transport(package: Any) -> Any:
    """Return a transport of httpx's or httpx2's for one agent."""
    # One pool per agent: httpx searches a shared one for every request.
    limits = package.Limits(max_connections=1, keepalive_expiry=None)
    return package.AsyncHTTPTransport(verify=_trust(), limits=limits)


def _guards_of(plan: Plan) -> Any:
    return import_module(f"supervisor.integrations.{plan.client}")


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()  # dear, and the same for all
