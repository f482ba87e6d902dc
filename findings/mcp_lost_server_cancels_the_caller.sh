#!/usr/bin/env bash
# If an MCP server is lost during a call over HTTP, mcp does not fail the call: it cancels it, and
# everything in the client's block.
#
# `except Exception` round `call_tool` sees nothing, and the block raises a group of the transport's
# errors; the same if the server refuses the connection. So one tool's lost server ends an agent
# that has others, and a guard round the call sees a cancellation: nothing that counts. Over stdio
# the same loss is an `MCPError` of the call, and the block goes on. Our `http_client()` makes it
# one over HTTP, too.
#
# Versions: mcp 2.3.0, httpx2 2.16.2, uvicorn 0.54.0, trio 0.35.0, CPython 3.11.7
# Seen:
#   over_stdio, asyncio:
#     the call: MCPError Connection closed
#     the block: goes on
#   over_http, asyncio:
#     the call: CancelledError
#     the block: ExceptionGroup ['RemoteProtocolError']
#   over_stdio, trio:
#     the call: MCPError Connection closed
#     the block: goes on
#   over_http, trio:
#     the call: Cancelled
#     the block: ExceptionGroup ['RemoteProtocolError']
#
# Needs Python 3.11 or later, as $PYTHON if that is not python3. Fails if it sees something else.
set -euo pipefail

python=${PYTHON:-python3}
"$python" -c "import sys; sys.exit(sys.version_info < (3, 11))" || {
    echo "Python 3.11 or later is needed: set PYTHON"
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mcp==2.3.0 httpx2==2.16.2 uvicorn==0.54.0 trio==0.35.0

cat > "$folder/script.py" <<'PYTHON'
import os
import socket
import subprocess
import sys

import anyio
import uvicorn
from mcp import Client, StdioServerParameters, stdio_client
from mcp.server import MCPServer

tools = MCPServer("tools", log_level="ERROR")


@tools.tool()
async def end() -> None:
    os._exit(0)


def serve(transport):
    if transport == "stdio":
        anyio.run(tools.run_stdio_async)
    else:
        uvicorn.run(tools.streamable_http_app(), fd=int(transport), log_level="critical")


async def call(server):
    try:
        async with Client(server) as client:
            try:
                await client.call_tool("end")
            except Exception as error:
                print(f"  the call: {type(error).__name__} {error}")
            except BaseException as error:
                print(f"  the call: {type(error).__name__}")
                raise
        print("  the block: goes on")
    except Exception as error:
        inside = [type(each).__name__ for each in getattr(error, "exceptions", ())]
        print(f"  the block: {type(error).__name__} {inside}")


async def over_stdio():
    command = StdioServerParameters(command=sys.executable, args=[__file__, "stdio"])
    await call(stdio_client(command))


async def over_http():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        with subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number]):
            await call(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")


if len(sys.argv) > 1:
    serve(sys.argv[1])
else:
    for backend in ("asyncio", "trio"):
        for transport in (over_stdio, over_http):
            print(f"{transport.__name__}, {backend}:")
            anyio.run(transport, backend=backend)
PYTHON

cat > "$folder/expected" <<'TEXT'
over_stdio, asyncio:
  the call: MCPError Connection closed
  the block: goes on
over_http, asyncio:
  the call: CancelledError
  the block: ExceptionGroup ['RemoteProtocolError']
over_stdio, trio:
  the call: MCPError Connection closed
  the block: goes on
over_http, trio:
  the call: Cancelled
  the block: ExceptionGroup ['RemoteProtocolError']
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
