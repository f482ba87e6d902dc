#!/usr/bin/env bash
# `async for` over a WebSocket of aiohttp's ends in the same way whether the server has ended it, has
# failed, or is lost.
#
# The loop ends, and nothing is raised, also when the connection is gone without a word of goodbye.
# The client of websockets raises then. So a feed that was cut in the middle looks like one that was
# read to its end, and is a success of the server's to retries and circuits round the loop. Only
# `close_code` tells. Our page on aiohttp has a generator that asks it, for a guarded stream.
#
# Versions: aiohttp 3.14.5, websockets 17.4, CPython 3.11.7
# Seen:
#   aiohttp, ended: some, then the loop ends; close_code 1000
#   websockets, ended: some, then the loop ends; close_code 1000
#   aiohttp, failed: some, then the loop ends; close_code 1011
#   websockets, failed: some, then ConnectionClosedError; close_code 1011
#   aiohttp, lost: some, then the loop ends; close_code 1006
#   websockets, lost: some, then ConnectionClosedError; close_code 1006
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
    aiohttp==3.14.5 websockets==17.4

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import aiohttp
import websockets
from aiohttp import web


async def feed(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("some")
    match request.path:
        case "/ended":
            await socket.close(code=1000)
        case "/failed":
            await socket.close(code=1011)
        case "/lost":
            request.transport.close()  # without a closing frame
    return socket


async def read(socket):
    said, ended = [], "the loop ends"
    try:
        async for message in socket:
            said.append(message)
    except Exception as error:
        ended = type(error).__name__
    return said, f"then {ended}; close_code {socket.close_code}"


async def main():
    app = web.Application()
    app.router.add_get("/{how}", feed)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    where = f"127.0.0.1:{runner.addresses[0][1]}"
    for how in ("ended", "failed", "lost"):
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"ws://{where}/{how}") as socket:
                said, ended = await read(socket)
                print(f"aiohttp, {how}: {', '.join(each.data for each in said)}, {ended}")
        async with websockets.connect(f"ws://{where}/{how}") as socket:
            said, ended = await read(socket)
            print(f"websockets, {how}: {', '.join(said)}, {ended}")
    await runner.cleanup()


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
aiohttp, ended: some, then the loop ends; close_code 1000
websockets, ended: some, then the loop ends; close_code 1000
aiohttp, failed: some, then the loop ends; close_code 1011
websockets, failed: some, then ConnectionClosedError; close_code 1011
aiohttp, lost: some, then the loop ends; close_code 1006
websockets, lost: some, then ConnectionClosedError; close_code 1006
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
