#!/usr/bin/env bash
# aiohttp sends a request twice by itself, if the connection is lost before the answer.
#
# It does so for GET, PUT, DELETE and their like, as if a kept-alive connection had been closed by
# the server meanwhile; but it does so on a fresh connection as well, whatever the server has done
# by then. A middleware is called for both: what counts failures there counts two for one call, and
# nothing public switches that off. Our middleware's page says what thresholds stand it.
#
# Versions: aiohttp 3.14.5, CPython 3.11.7
# Seen:
#   GET: sent 2, middleware 2, ServerDisconnectedError
#   PUT: sent 2, middleware 2, ServerDisconnectedError
#   DELETE: sent 2, middleware 2, ServerDisconnectedError
#   POST: sent 1, middleware 1, ServerDisconnectedError
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aiohttp==3.14.5

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import aiohttp


async def ask(method):
    sent = middleware_calls = 0

    async def hang_up(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        sent += 1
        writer.close()

    async def middleware(request, handler):
        nonlocal middleware_calls
        middleware_calls += 1
        return await handler(request)

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession(middlewares=[middleware]) as session:
        try:
            await session.request(method, f"http://127.0.0.1:{port}/")
        except aiohttp.ClientError as error:
            print(f"{method}: sent {sent}, middleware {middleware_calls}, {type(error).__name__}")


async def main():
    for method in ("GET", "PUT", "DELETE", "POST"):
        await ask(method)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
GET: sent 2, middleware 2, ServerDisconnectedError
PUT: sent 2, middleware 2, ServerDisconnectedError
DELETE: sent 2, middleware 2, ServerDisconnectedError
POST: sent 1, middleware 1, ServerDisconnectedError
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
