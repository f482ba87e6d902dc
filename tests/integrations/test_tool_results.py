"""What a call of an MCP tool counts as, by results and errors that only look like mcp's own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Failure,
    Outcome,
    Policy,
    Supervisor,
)
from supervisor.integrations.tool_results import (
    CONNECTION_CLOSED,
    REFUSED,
    REQUEST_TIMEOUT,
    classify_call,
    error_text,
    for_servers,
    for_tools,
    is_models_mistake,
    refusal_data,
)

MISTAKES = [
    "Unknown tool: forcast",
    "Error executing tool forecast: 1 validation error for forecastArguments\ncity\n  Field",
    "Error executing tool two words: 2 validation errors for twoWordsArguments\ncity\n  Field",
]
FAILURES = [
    "",
    "Error executing tool forecast",
    "Error executing tool forecast: the database is down",
    "Error executing tool forecast: Unknown tool: other",
    "Error executing tool forecast: 1 validation error for Row\ncity\n  Field required",
]


@dataclass
class Text:
    """One block of a result."""

    text: str


@dataclass
class Picture:
    """Another one."""

    data: Any = "..."


@dataclass
class Result:
    """Like `CallToolResult`."""

    content: list[object]
    is_error: bool = True


@dataclass
class Error(Exception):
    """Like `MCPError`."""

    code: int
    data: Any = field(default=None)


def test_the_text_of_an_error() -> None:
    """It is the text of all blocks that have one; a result that is no error has none."""
    assert error_text(Result([Text("a"), Picture(), Text("b")])) == "a\nb"
    assert error_text(Result([])) == ""
    assert error_text(Result([Text("a")], is_error=False)) is None
    assert error_text(ValueError("a")) is None
    assert error_text("a") is None


@pytest.mark.parametrize("text", MISTAKES)
def test_a_models_mistake(text: str) -> None:
    """Counts as nothing: it tells nothing of the tool."""
    assert is_models_mistake(text)
    assert classify_call(Result([Text(text)])) is Outcome.IGNORED


@pytest.mark.parametrize("text", FAILURES)
def test_a_failure_of_the_tool(text: str) -> None:
    """Is any other result that is an error, whatever it quotes."""
    assert not is_models_mistake(text)
    assert classify_call(Result([Text(text)])) is Outcome.FAILED


def test_what_the_other_fields_decide() -> None:
    """Is what was returned in earnest, and errors that say nothing of a mistake."""
    for ended_with in (
        Result([Text("Unknown tool: a")], is_error=False),
        Error(REQUEST_TIMEOUT),
        Error(CONNECTION_CLOSED),
        Error(-32603, {"uri": "a"}),
        RuntimeError("no structured content"),
        Picture({"retry_after": 7}),
    ):
        assert classify_call(ended_with) is None


@pytest.mark.parametrize("code", [-32601, -32602, -32042])
def test_errors_that_are_not_the_tools(code: int) -> None:
    """There is no such method or argument, or the user has to visit a page first."""
    assert classify_call(Error(code)) is Outcome.IGNORED


@pytest.mark.parametrize(
    ("told", "seconds"), [(7.0, 7.0), (None, None), (0.0, None), ("soon", None)]
)
def test_an_error_that_says_when(told: object, seconds: float | None) -> None:
    """Is a failure with a hint, whatever its code is; what is no time is none."""
    for code in (REFUSED, -32602):
        assert classify_call(Error(code, {"retry_after": told})) == Failure(retry_after=seconds)


def test_a_lost_connection() -> None:
    """Is a failure of the server, and says nothing of the tool."""
    tool, server = for_tools(Policy()).classify, for_servers(Policy()).classify
    assert tool is not None
    assert server is not None
    for code in (CONNECTION_CLOSED, -32600):
        assert tool(Error(code)) is Outcome.IGNORED
        assert server(Error(code)) is Outcome.FAILED


def test_what_tells_of_the_server() -> None:
    """Each answer tells that it is there; what is no answer tells nothing."""
    server = for_servers(Policy()).classify
    assert server is not None
    for answer in (Result([]), Result([], is_error=False), Error(-32602), Error(REFUSED)):
        assert server(answer) is Outcome.SUCCEEDED
    for silence in (
        Error(REQUEST_TIMEOUT),
        CallTimeoutError(),
        CircuitBreakerOpenError("a"),
        RuntimeError(),
    ):
        assert server(silence) is Outcome.IGNORED


def test_other_fields_stay() -> None:
    """But for a limit to hints, which is given if there is none; and one's own `classify`."""
    assert for_tools(Policy(failure_threshold=7)).failure_threshold == 7
    assert for_tools(Policy()).max_retry_after == 3600
    assert for_tools(Policy(max_retry_after=5)).max_retry_after == 5
    own = Policy(classify=lambda _: Outcome.SUCCEEDED)
    classify = for_tools(own).classify
    assert classify is not None
    assert classify(Result([])) is Outcome.SUCCEEDED
    assert classify(Error(CONNECTION_CLOSED)) is Outcome.IGNORED
    assert for_servers(own) == own


def test_policies_of_two_sessions() -> None:
    """Are the same if what was given is, so that they can share their circuits."""
    assert for_tools(Policy()) == for_tools(Policy())
    assert for_servers(Policy()) == for_servers(Policy())
    assert for_tools(Policy()) != for_tools(Policy(classify=print))


def test_what_a_server_tells_of_a_refusal() -> None:
    """JSON has no infinity."""
    refusal = CircuitBreakerOpenError("database", 7.5)
    assert refusal_data(refusal) == {"retry_after": 7.5, "circuit": "database"}
    assert refusal_data(CircuitBreakerOpenError("database", math.inf))["retry_after"] is None


@pytest.mark.anyio
async def test_a_probe_with_a_mistake() -> None:
    """Does not close the circuit, and leaves its place to the next one."""
    policy = for_tools(Policy(failure_threshold=1, recovery_timeout=1.0))
    results = iter([FAILURES[1], MISTAKES[0], FAILURES[1]])

    async def call() -> Result:
        return Result([Text(next(results))])

    async with Supervisor():
        breaker = CircuitBreaker("tool", policy=policy)
        states: list[CircuitState] = []
        for _ in range(3):
            await anyio.sleep(1.1)
            await breaker.call(call)
            states.append(breaker.state)
        assert states == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.OPEN]
