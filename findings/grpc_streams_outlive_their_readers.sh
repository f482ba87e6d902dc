#!/usr/bin/env bash
# A stream of grpc.aio's goes on at the server when its reader has left and nobody has the call any
# more.
#
# A call's finaliser cancels, but for a stream it is never run: something of grpc's keeps the call.
# `break` out of `async for` leaves the server to work, and to hold what it holds, until it ends by
# itself or the channel is closed; a channel is usually as old as its process. The garbage collector
# does not help. What helps is `call.cancel()`. Our page on grpc says so, and probes of ours that
# were left so fail after their `probe_timeout`.
#
# Versions: grpcio 1.85.3, CPython 3.11.7
# Seen:
#   left by break and cancel(): 0 at work
#   left by break: 1 at work
#   the channel is closed: 0 at work
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check grpcio==1.85.3

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import gc

import grpc

at_work = 0


async def stream(request, context):
    global at_work
    at_work += 1
    try:
        yield b"first"
        await asyncio.sleep(600)
    finally:
        at_work -= 1


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_stream_rpc_method_handler(stream)


async def leave(call, cancel=False):
    async for _ in call:
        break
    if cancel:
        call.cancel()


async def at_the_server():
    gc.collect()
    await asyncio.sleep(1)
    gc.collect()
    await asyncio.sleep(1)
    return f"{at_work} at work"


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_stream("/service/stream")
        await leave(ask(b""), cancel=True)
        print(f"left by break and cancel(): {await at_the_server()}")
        await leave(ask(b""))
        print(f"left by break: {await at_the_server()}")
    print(f"the channel is closed: {await at_the_server()}")
    await server.stop(None)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
left by break and cancel(): 0 at work
left by break: 1 at work
the channel is closed: 0 at work
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
