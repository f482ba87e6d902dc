"""Guarded calls of the tools of a real MCP server, over each transport: `make test-integrations`.

In real time, since a server may be another process. No test depends on how fast it runs: the only
clocks are the clients' own timeouts, which end what would last forever.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio

from supervisor import CircuitBreakerOpenError, CircuitState, Policy, Statistics, Supervisor
from tests.integrations.real.servers import REAL_TIME, serving
from tests.support.worlds import until

mcp: Any = pytest.importorskip("mcp")

import httpx2  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

from supervisor.integrations.mcp import GuardedSession, http_client  # noqa: E402
from tests.integrations.real.mcp_server import HINT, failing_server  # noqa: E402

pytestmark = [
    pytest.mark.anyio,
    # What the package warns of, or leaves unclosed, is its own.
    pytest.mark.filterwarnings("ignore"),
]

ROOT = Path(__file__).parents[3]
SERVER = "tests.integrations.real.mcp_server"
SOON, LATE = 0.05, 60.0
"""Seconds after which a client gives up: soon only what never comes, even on a slow machine."""

BERN = {"city": "Bern"}


@pytest.fixture(params=REAL_TIME)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return REAL_TIME[request.param]


@asynccontextmanager
async def connected(transport: str) -> AsyncIterator[Any]:
    """Yield a client that is connected to a server in this process, or in one of its own."""
    kind, _, mode = transport.partition(" ")
    if kind == "memory":
        async with mcp.Client(failing_server(), mode=mode) as client:
            yield client
    elif kind == "stdio":
        backend = sniffio.current_async_library()
        command = mcp.StdioServerParameters(
            command=sys.executable,
            args=["-m", SERVER, backend],
            env={"PYTHONPATH": str(ROOT)},
        )
        async with mcp.Client(command, mode=mode) as client:
            yield client
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port, number = listener.getsockname()[1], listener.fileno()
            command = [sys.executable, "-m", SERVER, "asyncio", str(number)]
            process = subprocess.Popen(command, pass_fds=[number], cwd=ROOT)  # noqa: ASYNC220
        try:  # it listens already, for the process
            async with connected_to(port, mode) as client:
                yield client
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def connected_to(port: int, mode: str, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of a server that speaks HTTP, or does not."""
    async with http_client(**options) as http:
        url = f"http://127.0.0.1:{port}/mcp"
        transport = streamable_http_client(url, http_client=http)
        async with mcp.Client(transport, mode=mode) as client:
            yield client


class Calls:
    """Guarded calls whose circuits open at the first failure, and what is known of the circuits."""

    def __init__(self, client: Any, supervisor: Supervisor) -> None:
        policy = Policy(failure_threshold=1)
        self.guard = GuardedSession(client, "failing", policy=policy, server_policy=policy)
        self._supervisor = supervisor

    async def call(self, tool: str, **options: Any) -> Any:
        """Call a tool with an argument that it takes."""
        return await self.guard.call_tool(tool, BERN, **options)

    def of(self, tool: str) -> tuple[Statistics, Statistics]:
        """The figures of the tool's circuit, and of the server's."""
        statistics = self._supervisor.statistics()
        return statistics[f"mcp:failing:{tool}"], statistics["mcp:failing"]

    def waits_for(self, tool: str) -> bool:
        """Whether both have admitted a call of the tool that goes on."""
        return f"mcp:failing:{tool}" in self._supervisor and all(
            figures.in_flight for figures in self.of(tool)
        )


MEMORY = ["memory auto", "memory legacy"]
ELSEWHERE = ["stdio auto", "stdio legacy", "http auto", "http legacy"]


def by_each(*transports: str) -> Any:
    """Run a test by each of the transports, on each loop; but a process is not started for uvloop:
    what differs there is below the package, and to start it takes far longer than to ask it.
    """
    cases = [
        pytest.param(REAL_TIME[backend], transport, id=f"{backend}-{transport}")
        for transport in transports
        for backend in REAL_TIME
        if backend != "uvloop" or transport in MEMORY
    ]
    return pytest.mark.parametrize(("anyio_backend", "transport"), cases)


@asynccontextmanager
async def calls_by(transport: str) -> AsyncIterator[Calls]:
    async with Supervisor() as supervisor, connected(transport) as client:
        yield Calls(client, supervisor)


@by_each(*MEMORY, *ELSEWHERE)
async def test_what_a_call_counts_as(transport: str) -> None:
    """By what it ends with, over each transport alike."""
    async with calls_by(transport) as calls:
        assert (await calls.call("answers")).content[0].text == "sunny in Bern"
        tool, server = calls.of("answers")
        assert (tool.succeeded, server.succeeded) == (1, 1)

        for name, arguments in [("answers", {"cty": "Bern"}), ("answers", {}), ("answer", BERN)]:
            assert (await calls.guard.call_tool(name, arguments)).is_error
        assert calls.of("answers")[0].ignored == 2
        tool, server = calls.of("answer")
        assert (tool.ignored, tool.state, server.succeeded) == (1, CircuitState.CLOSED, 4)

        for name in ("crashes", "says_so", "breaks_its_schema"):
            assert (await calls.call(name)).is_error
            tool, server = calls.of(name)
            assert (tool.failed, tool.state) == (1, CircuitState.OPEN)
            with pytest.raises(CircuitBreakerOpenError, match=f"'mcp:failing:{name}' is open"):
                await calls.call(name)
        assert (server.succeeded, server.failed, server.ignored) == (7, 0, 2)

        with pytest.raises(mcp.MCPError, match="busy"):
            await calls.call("names_a_time")
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await calls.call("names_a_time")
        assert 30 < round(refusal.value.retry_after, 3) <= HINT


@by_each(*MEMORY, *ELSEWHERE)
async def test_a_tool_that_hangs(transport: str) -> None:
    """Is a failure if the client gives up, and nothing if the caller does; the client goes on."""
    async with calls_by(transport) as calls:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.call, "hangs")
            await until(lambda: calls.waits_for("hangs"))
            await anyio.sleep(SOON)  # so that the server most likely knows of it
            tasks.cancel_scope.cancel()
        tool, server = calls.of("hangs")
        assert (tool.cancelled, server.cancelled) == (1, 1)
        with pytest.raises(mcp.MCPError) as error:
            await calls.call("hangs", read_timeout_seconds=SOON)
        assert error.value.code == -32001
        tool, server = calls.of("hangs")
        assert (tool.failed, tool.state) == (1, CircuitState.OPEN)
        assert (server.ignored, server.state) == (1, CircuitState.CLOSED)
        assert not (await calls.call("answers")).is_error


@by_each(*ELSEWHERE)
async def test_a_server_that_dies(transport: str) -> None:
    """Is a failure of the server's: all of its tools are refused, and none is worth offering."""
    async with calls_by(transport) as calls:
        assert not (await calls.call("answers")).is_error
        with pytest.raises(mcp.MCPError) as error:
            await calls.call("dies")
        assert error.value.code == -32000
        tool, server = calls.of("dies")
        assert (tool.ignored, tool.state) == (1, CircuitState.CLOSED)
        assert (server.failed, server.state) == (1, CircuitState.OPEN)
        for name in ("answers", "dies"):
            with pytest.raises(CircuitBreakerOpenError, match="'mcp:failing' is open"):
                await calls.call(name)
        assert await calls.guard.available_tools() == []


@by_each(*MEMORY, *ELSEWHERE)
async def test_what_the_server_sees(transport: str) -> None:
    """A tool that hangs is cancelled: its circuit opens if it was slow, or cancelled calls count.

    Whichever it is, the next client is told so at once.
    """
    async with connected(transport) as client:
        for name in ("slow", "left"):
            tool, patience = f"hangs_and_is_{name}", SOON
            while True:
                with pytest.raises(mcp.MCPError) as error:
                    await client.call_tool(tool, BERN, read_timeout_seconds=patience)
                if error.value.code != -32001 or patience > LATE:
                    break
                patience *= 2  # the server has not heard of it, or not answered yet
            assert error.value.code == -32050
            assert error.value.data["circuit"] == name
            assert 0 < round(error.value.data["retry_after"], 3) <= 30
            assert error.value.message.startswith(f"'{tool}' is unavailable and has refused")


@pytest.mark.parametrize(
    ("fault", "code"),
    [("refused", -32000), ("lost", -32000), ("cut", -32000), ("hang", -32001), ("stalls", -32001)],
)
async def test_http_that_fails(fault: str, code: int) -> None:
    """Is an error of the one call: the client's block goes on."""
    limits = httpx2.Timeout(None, read=SOON if fault in ("hang", "stalls") else LATE)
    async with (
        serving(fault, b'{"jsonrpc": "2.0"}') as server,
        connected_to(server.port, "2026-07-28", timeout=limits) as client,
    ):
        for _ in range(2):
            with pytest.raises(mcp.MCPError) as error:
                await client.call_tool("any", {})
            assert error.value.code == code


def test_the_http_client() -> None:
    """Has mcp's own timeouts, and what is given."""
    assert http_client().timeout == httpx2.Timeout(30, read=300)
    client = http_client(headers={"tenant": "a"}, timeout=5)
    assert client.headers["tenant"] == "a"
    assert client.timeout == httpx2.Timeout(5)
