"""The guards of agents' tools: one circuit each, and answers in the place of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from supervisor import (
    CircuitBreaker,
    CircuitState,
    CircuitStoppedError,
    Policy,
    PolicyConflictError,
    Supervisor,
)
from supervisor.integrations.tools import GuardedTools, circuit_of_tool, is_from_trouble

pytestmark = pytest.mark.anyio


class Steering(Exception):
    """What a framework raises to steer an agent."""


def steers(error: BaseException) -> bool:
    return isinstance(error, Steering)


def guarded(
    circuit: Callable[[str], str | None] = circuit_of_tool,
    *,
    answer_failures: bool = False,
    **fields: Any,
) -> GuardedTools:
    policy = Policy(**{"failure_threshold": 1, **fields})
    return GuardedTools(circuit, policy, answer_failures, steers)


async def ask(tools: GuardedTools, answer: object, tool: str = "search") -> str:
    """Call a tool, which returns what it is given, or raises it."""

    async def call() -> str:
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    return await tools.call(tool, call, "told: {}".format)


async def test_each_tool_has_a_circuit() -> None:
    """Its failures open it, and the next call is answered, without being made."""
    tools = guarded()
    async with Supervisor() as supervisor:
        assert await ask(tools, "found") == "found"
        with pytest.raises(ConnectionError):
            await ask(tools, ConnectionError("down"))
        text = await ask(tools, "found")
        assert text.startswith("told: 'search' is unavailable and has refused this call. It may")
        assert await ask(tools, "read", "files") == "read"
        states = {name: figures.state for name, figures in supervisor.statistics().items()}
        assert states == {"tool:search": CircuitState.OPEN, "tool:files": CircuitState.CLOSED}


async def test_the_choice_of_a_circuit() -> None:
    """Several tools may share one, and some may have none."""
    tools = guarded({"search": "web", "fetch": "web", "add": None}.__getitem__)
    async with Supervisor() as supervisor:
        with pytest.raises(ConnectionError):
            await ask(tools, ConnectionError("down"))
        assert (await ask(tools, "page", "fetch")).startswith("told: 'fetch' is unavailable")
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await ask(tools, ConnectionError("down"), "add")
        assert list(supervisor) == ["web"]


async def later() -> str:
    return "web"


class Later:
    """Its objects are called like async functions."""

    async def __call__(self, tool: str) -> str:
        return tool


@pytest.mark.parametrize("answer_failures", [True, False])
@pytest.mark.parametrize(
    ("circuit", "error", "text"),
    [
        (lambda _: 7, TypeError, "circuit must return a circuit's name, or None, got 7$"),
        (lambda _: "", ValueError, "a circuit's name must .* got ''$"),
        (lambda _: False, TypeError, "got False$"),
        (lambda _: b"web", TypeError, "got b'web'$"),
        (lambda _: ["web"], TypeError, r"got \['web'\]$"),
        (lambda _: later(), TypeError, "got <coroutine object later"),
        (Later(), TypeError, "got <coroutine object Later.__call__"),
    ],
    ids=["number", "empty", "False", "bytes", "list", "coroutine", "async callable"],
)
async def test_a_choice_of_no_name(
    circuit: Any, error: type[Exception], text: str, answer_failures: bool
) -> None:
    """Is the developer's mistake, and told nobody else; the tool is not called."""
    with pytest.raises(error, match=text):
        await ask(guarded(circuit, answer_failures=answer_failures), AssertionError())


async def test_failures_that_are_answered() -> None:
    """They count all the same, and no text of theirs is told."""
    tools = guarded(answer_failures=True)
    async with Supervisor() as supervisor:
        text = await ask(tools, ConnectionError("the password is 1234"))
        assert text.startswith("told: 'search' has failed; ")
        assert "1234" not in text
        assert supervisor["tool:search"].statistics().failed == 1


@pytest.mark.parametrize("answer_failures", [True, False])
async def test_what_steers_an_agent(answer_failures: bool) -> None:
    """Comes through, and counts as nothing; also beside what the policy ignores."""
    tools = guarded(answer_failures=answer_failures, ignore=lambda error: error.args == ("odd",))
    async with Supervisor() as supervisor:
        with pytest.raises(Steering):
            await ask(tools, Steering("on"))
        assert supervisor["tool:search"].statistics().ignored == 1
        if not answer_failures:
            with pytest.raises(KeyError):
                await ask(tools, KeyError("odd"))
            assert supervisor["tool:search"].statistics().ignored == 2


async def test_a_refusal_inside() -> None:
    """By a circuit of the tool's own is no failure of the tool, and is told as well."""
    tools = guarded()
    async with Supervisor() as supervisor:
        supervisor.circuit("inside").force_open()

        @CircuitBreaker("inside")
        async def call() -> str:
            return "found"

        text = await tools.call("search", call, "told: {}".format)
        assert text.startswith("told: 'search' is unavailable")
        assert supervisor["tool:search"].statistics().ignored == 1


async def test_a_stopped_circuit() -> None:
    """Is told as well."""
    tools = guarded(lambda _: None)
    text = await ask(tools, CircuitStoppedError("it was stopped"))
    assert text.startswith("told: 'search' is unavailable")


async def test_a_developers_mistake() -> None:
    """Is told nobody but the developer."""
    async with Supervisor():
        await ask(guarded(), "found")
        with pytest.raises(PolicyConflictError):
            await ask(guarded(answer_failures=True, failure_threshold=2), "found")
        await ask(guarded(answer_failures=True), "found")  # an equal policy is none


async def test_a_servers_hint() -> None:
    """Says for how long the circuit is open."""

    class Busy(Exception):
        retry_after = 200

    tools = guarded()
    async with Supervisor():
        with pytest.raises(Busy):
            await ask(tools, Busy())
        assert "about 4 minutes" in await ask(tools, "found")


def test_an_error_that_was_raised_from_trouble() -> None:
    """Is about the server, and not about the model; told or not told by `raise … from`."""
    error = Steering()
    assert not is_from_trouble(error)
    error.__context__ = KeyError()
    assert not is_from_trouble(error)
    error.__context__ = TimeoutError()
    assert is_from_trouble(error)
    error.__cause__ = KeyError()
    assert not is_from_trouble(error)


def test_bad_arguments() -> None:
    """Are errors at once."""

    async def name(tool: str) -> str:
        return tool

    bad: Any
    for bad in (name, "search"):
        with pytest.raises(TypeError, match="circuit must be a plain function of a tool's name"):
            GuardedTools(bad, None, False, steers)
    bad = {}
    with pytest.raises(TypeError, match="policy"):
        GuardedTools(circuit_of_tool, bad, False, steers)
