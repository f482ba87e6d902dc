"""Guards for MCP: calls of a server's tools, and a server's own tools. On asyncio and trio."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from inspect import Parameter, isroutine, signature
from typing import Any, Final, Literal, ParamSpec, TypeVar, cast, get_args

import httpx2
import mcp  # type: ignore[import-not-found, unused-ignore]

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Policy
from supervisor.integrations.answers import text_for_model
from supervisor.integrations.tool_results import (
    CONNECTION_CLOSED,
    REFUSED,
    REQUEST_TIMEOUT,
    for_servers,
    for_tools,
    refusal_data,
)

P = ParamSpec("P")
R = TypeVar("R")
OnRefusal = Literal["error", "result"]


class GuardedSession:
    """Guards the calls of a server's tools: by a circuit of the server, and one of each tool.

    A lost connection counts for the server alone, and closes off all of its tools. All else counts
    for the tool alone. The circuits are named `mcp:SERVER` and `mcp:SERVER:TOOL`, and are the same
    for all sessions of the server.

    Args:
        session: a `Client`, or a `ClientSession`.
        server: what the server is called here, 1 to 251 printable characters without a colon.
        policy: that of the tools' circuits; its `classify` goes before `classify_call`.
        server_policy: that of the server's circuit.
        on_refusal: "error": a refusal is raised; "result": it is returned, as a result with
            `is_error` and a text for the model.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        session: mcp.Client | mcp.ClientSession,
        server: str,
        *,
        policy: Policy | None = None,
        server_policy: Policy | None = None,
        on_refusal: OnRefusal = "error",
    ) -> None:
        if on_refusal not in get_args(OnRefusal):
            choices = ", ".join(get_args(OnRefusal))
            raise ValueError(f"on_refusal must be one of {choices}; got {on_refusal!r}")
        self._session = session
        self._policy = for_tools(_checked("policy", policy))
        self._server = CircuitBreaker(
            _named(server), policy=for_servers(_checked("server_policy", server_policy))
        )
        self._tools: dict[str, CircuitBreaker | None] = {}
        self._knows_all = False
        self._on_refusal = on_refusal

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        progress_callback: Any = None,
        **options: Any,
    ) -> mcp.types.CallToolResult:
        """Call a tool, as `call_tool` of the session does, if both circuits admit it.

        A tool that the last `available_tools` has not found goes by the server's circuit alone, so
        that names that a model makes up have none.

        Raises:
            CircuitBreakerOpenError: one of them does not; see `on_refusal`.
            Exception: any error of the session's.
        """
        # A client that has not been entered, or has been left, raises here: that is no failure.
        getattr(self._session, "session", None)
        call = functools.partial(
            self._session.call_tool,
            name,
            arguments,
            read_timeout_seconds,
            progress_callback,
            **options,
        )
        tool = self._circuit_of(name)
        try:
            if tool is None:
                return await self._server.call(call)
            return await self._server.call(tool.call, call)
        except CircuitBreakerOpenError as refusal:
            if self._on_refusal == "error":
                raise
            text = text_for_model(refusal, name.strip() or None)
            return mcp.types.CallToolResult(
                content=[mcp.types.TextContent(type="text", text=text)], is_error=True
            )

    async def available_tools(self) -> list[mcp.Tool]:
        """Return the server's tools that are worth offering to a model now; see `admits`.

        The server is asked for all its tools, unless its circuit is open.

        Raises:
            Exception: any error of the session's `list_tools`; it counts as nothing.
        """
        if self._server.retry_after > 0:
            return []
        tools = await self._all_tools()
        self._tools = {tool.name: self._new_circuit(tool.name) for tool in tools}
        self._knows_all = True
        return [tool for tool in tools if self.admits(tool.name)]

    def admits(self, tool: str) -> bool:
        """Whether neither the circuit of the server nor that of the tool is open.

        A half-open one is not: unless a tool is offered, nobody finds out whether it is back.
        Nothing is asked for, so no probe is used up.
        """
        circuits = (self._server, self._circuit_of(tool))
        return all(circuit is None or circuit.retry_after == 0 for circuit in circuits)

    async def _all_tools(self) -> list[mcp.Tool]:
        tools: list[mcp.Tool] = []
        cursor: str | None = None
        while True:
            if isinstance(self._session, mcp.Client):
                page = await self._session.list_tools(cursor=cursor)
            else:
                page = await self._session.list_tools(
                    params=mcp.types.PaginatedRequestParams(cursor=cursor)
                )
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                return tools

    def _circuit_of(self, tool: str) -> CircuitBreaker | None:
        if tool not in self._tools and not self._knows_all:
            self._tools[tool] = self._new_circuit(tool)
        return self._tools.get(tool)

    def _new_circuit(self, tool: str) -> CircuitBreaker | None:
        try:
            return CircuitBreaker(f"{self._server.name}:{tool}", policy=self._policy)
        except ValueError:  # no name that a circuit can have; the server may think otherwise
            return None


def _checked(name: str, policy: Policy | None) -> Policy:
    if policy is not None and not isinstance(cast("object", policy), Policy):
        raise TypeError(f"{name} must be a Policy, got {policy!r}")
    return policy or Policy()


def _named(server: object) -> str:
    if not isinstance(server, str):
        raise TypeError(f"server must be a string, got {server!r}")
    if not server or ":" in server:  # "a:b" might be tool "b" of server "a"
        raise ValueError(f"server must be a name without a colon, got {server!r}")
    return f"mcp:{server}"


def guarded_tool(breaker: CircuitBreaker) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Guard a tool of a server by a circuit; a refusal is raised as an `MCPError`.

    That one has the code `REFUSED`, a text for the model, and in its data the name of the `circuit`
    and `retry_after`, in seconds, or None if that is infinite. The tool keeps its signature, so
    that its schema stays right. It may be an async function, or a plain one that is run in a worker
    thread, as servers do; or a partial of one, or an object that is called like one.

    When its client gives up, a tool is cancelled. That counts as nothing by default. With a
    `timeout` in the breaker's policy, a call that hangs for so long is cancelled before, and counts
    as a failure; with `failure_on_cancel`, each cancelled call does.

    Raises:
        TypeError: `breaker` is none, or what is decorated is no function.
    """
    if not isinstance(cast("object", breaker), CircuitBreaker):
        raise TypeError(f"guarded_tool needs a CircuitBreaker, got {breaker!r}")

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        guarded: Callable[..., Any] | None = None
        with suppress(TypeError):  # it is none of the first kind; that of the second is raised
            guarded = breaker(cast("Any", func))
        if guarded is None:
            in_thread = breaker.sync(func)

            @functools.wraps(func)
            def run(*args: P.args, **kwargs: P.kwargs) -> R:
                with _refusals_as_errors(run.__name__):
                    return in_thread(*args, **kwargs)

            return _described(run, func)
        in_task = guarded

        @functools.wraps(func)
        async def answer(*args: P.args, **kwargs: P.kwargs) -> Any:
            with _refusals_as_errors(answer.__name__):
                return await in_task(*args, **kwargs)

        return cast("Callable[P, R]", _described(answer, func))

    return decorate


def _described(tool: Callable[P, R], func: object) -> Callable[P, R]:
    """Let a server read of partials and callables what it reads of functions: name, text, types."""
    if isroutine(func):
        return tool
    named = func
    while isinstance(named, functools.partial):
        named = named.func
    if not isroutine(named):
        named = type(named)
    told = signature(cast("Any", func))
    with suppress(NameError):  # of a type that is only there for type checkers: servers say so
        told = signature(cast("Any", func), eval_str=True)
    types = [(each.name, each.annotation) for each in told.parameters.values()]
    types.append(("return", told.return_annotation))
    described = cast("Any", tool)
    described.__name__ = getattr(func, "__name__", named.__name__)
    described.__qualname__ = getattr(func, "__qualname__", named.__qualname__)
    described.__doc__ = named.__doc__
    described.__signature__ = told
    described.__annotations__ = {name: kind for name, kind in types if kind is not Parameter.empty}
    return tool


@contextmanager
def _refusals_as_errors(tool: str) -> Generator[None]:
    try:
        yield
    except CircuitBreakerOpenError as refusal:
        text = text_for_model(refusal, tool)
        raise mcp.MCPError(REFUSED, text, refusal_data(refusal)) from refusal


_TIMEOUT: Final = httpx2.Timeout(30.0, read=300.0)
"""That of mcp's own HTTP client."""


def http_client(
    inner: httpx2.AsyncBaseTransport | None = None, **options: Any
) -> httpx2.AsyncClient:
    """Return an HTTP client for `streamable_http_client` by which a lost server fails its calls.

    By mcp's own, it cancels the client's block as a whole, with all calls in it, and a cancelled
    call counts as nothing. By this one, a call raises the `MCPError` that it raises over other
    transports: -32000 if the connection is lost, -32001 if an answer takes too long.

    Args:
        inner: the transport that sends; by default httpx2's own.
        options: other arguments of `httpx2.AsyncClient`; `timeout` is that of mcp's by default, 30
            seconds, and 300 for a read.
    """
    options.setdefault("timeout", _TIMEOUT)
    return httpx2.AsyncClient(transport=_Answering(inner or httpx2.AsyncHTTPTransport()), **options)


class _Answering(httpx2.AsyncBaseTransport):
    """Answers for a server that cannot, by an error of JSON-RPC."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
            if response.headers.get("content-type", "").startswith("application/json"):
                await response.aread()  # of a stream of events, the client survives the end
        except httpx2.TransportError as error:
            late = isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout)
            told = {
                "code": REQUEST_TIMEOUT if late else CONNECTION_CLOSED,
                "message": f"{type(error).__name__}: {error}",
            }
            return httpx2.Response(503, json={"jsonrpc": "2.0", "id": None, "error": told})
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()
