"""An MCP server that fails as it is told, run as a process of its own: over stdio, or by HTTP.

`python -m tests.integrations.real.mcp_server` speaks stdio on trio or asyncio; with the number of
a socket that listens, it serves HTTP on that.
"""

from __future__ import annotations

import os
import sys

import anyio
from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from supervisor import CircuitBreaker
from supervisor.integrations.mcp import guarded_tool

HINT = 700.0
"""Seconds for which a tool asks to be left alone: far more than any test lasts."""


class Weather(BaseModel):
    """What a tool returns that has an output schema."""

    degrees: int


def failing_server() -> MCPServer:
    """Return a server whose tools each do what they are called."""
    server = MCPServer("failing")

    @server.tool()
    async def answers(city: str) -> str:
        return f"sunny in {city}"

    @server.tool()
    async def crashes(city: str) -> str:
        raise ConnectionError("the database is down")

    @server.tool()
    async def says_so(city: str) -> str:
        raise ToolError("the database is down")

    @server.tool()
    async def breaks_its_schema(city: str) -> Weather:
        return {"degrees": "many"}  # type: ignore[return-value]

    @server.tool()
    async def names_a_time(city: str) -> str:
        raise MCPError(-32099, "busy", {"retry_after": HINT})

    @server.tool()
    async def hangs(city: str) -> str:
        return await anyio.sleep_forever()  # type: ignore[func-returns-value]

    @server.tool()
    async def dies(city: str) -> str:
        os._exit(1)

    add_guarded(server)
    return server


def add_guarded(server: MCPServer) -> None:
    """Add tools that are guarded by circuits of the server's."""

    @server.tool()
    @guarded_tool(CircuitBreaker("slow", failure_threshold=1, slow_call_duration=0.01))
    async def hangs_and_is_slow(city: str) -> None:
        await anyio.sleep_forever()

    @server.tool()
    @guarded_tool(CircuitBreaker("left", failure_threshold=1, failure_on_cancel=True))
    async def hangs_and_is_left(city: str) -> None:
        await anyio.sleep_forever()


def main() -> None:
    server = failing_server()
    if len(sys.argv) > 2:
        import uvicorn

        uvicorn.run(server.streamable_http_app(), fd=int(sys.argv[2]), log_level="critical")
    else:
        anyio.run(server.run_stdio_async, backend=sys.argv[1])


if __name__ == "__main__":
    main()
