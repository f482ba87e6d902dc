#!/usr/bin/env bash
# A full pool of aiohttp's looks to a middleware like a cancellation, or like a server out of reach:
# by which of its time limits is over.
#
# A `total` time cancels the task that waits for a connection, and is a `TimeoutError` only outside
# of all middlewares. If the server's answer is late, the same limit is a `TimeoutError` inside as
# well. `connect` says "Connection timeout to host", although the host has taken the only connection
# that was asked of it. So the client's own limit counts as the server's fault, or a fault as the
# caller's change of mind. Our middleware tells them apart.
#
# Versions: aiohttp 3.14.5, CPython 3.11.7
# Seen:
#   total, the answer is late:
#     in the middleware: TimeoutError
#     to the caller: TimeoutError
#   total, the pool is full:
#     in the middleware: CancelledError
#     to the caller: TimeoutError
#   connect, the pool is full:
#     in the middleware: ConnectionTimeoutError
#     to the caller: ConnectionTimeoutError Connection timeout to host
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


async def be_late(reader, writer):
    await reader.read()
    writer.close()


async def send_half(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
    await be_late(reader, writer)


async def show(request, handler):
    try:
        return await handler(request)
    except BaseException as error:
        print(f"  in the middleware: {type(error).__name__}")
        raise


async def ask(case, handler, timeout):
    print(f"{case}:")
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connector = aiohttp.TCPConnector(limit=1)
    async with server, aiohttp.ClientSession(connector=connector, middlewares=[show]) as session:
        if handler is send_half:
            await session.get(url)  # its body is not read: it holds the only connection
        try:
            await session.get(url, timeout=timeout)
        except TimeoutError as error:
            says = str(error).replace(url, "")
            print(f"  to the caller: {type(error).__name__} {says}".rstrip())


async def main():
    await ask("total, the answer is late", be_late, aiohttp.ClientTimeout(total=0.5))
    await ask("total, the pool is full", send_half, aiohttp.ClientTimeout(total=0.5))
    await ask("connect, the pool is full", send_half, aiohttp.ClientTimeout(connect=0.5))


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
total, the answer is late:
  in the middleware: TimeoutError
  to the caller: TimeoutError
total, the pool is full:
  in the middleware: CancelledError
  to the caller: TimeoutError
connect, the pool is full:
  in the middleware: ConnectionTimeoutError
  to the caller: ConnectionTimeoutError Connection timeout to host
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
