#!/usr/bin/env bash
# A server's own status is lost if it answers while grpc.aio still sends requests: the caller gets
# INTERNAL.
#
# A server may refuse a stream at once, as "full, come later". With one request, of a unary call,
# its status comes. With a stream of requests, some calls raise INTERNAL "Internal error from Core",
# and no more of the server's words. INTERNAL is a broken server, and no status to try again after.
# At the moment when the call is done, its `code()` is still the server's: our guard asks then, and
# counts that.
#
# Versions: grpcio 1.85.3, CPython 3.11.7
# Seen:
#   one request: ('RESOURCE_EXHAUSTED', 'full, come later')
#   a stream of requests, some calls: ('INTERNAL', 'Internal error from Core')
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

import grpc


async def refuse(request, context):
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full, come later")
    yield


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/service/unary":
            return grpc.unary_stream_rpc_method_handler(refuse)
        return grpc.stream_stream_rpc_method_handler(refuse)


async def requests():
    for _ in range(100):
        yield b"request"


async def status(call):
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details()


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        unary = channel.unary_stream("/service/unary")
        own = {await status(unary(b"request")) for _ in range(500)}
        print("one request:", *own)
        stream = channel.stream_stream("/service/stream")
        others = {await status(stream(requests())) for _ in range(500)} - own
        print("a stream of requests, some calls:", *others)
    await server.stop(None)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
one request: ('RESOURCE_EXHAUSTED', 'full, come later')
a stream of requests, some calls: ('INTERNAL', 'Internal error from Core')
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
