#!/usr/bin/env bash
# If a request's serializer raises, grpc.aio logs that, sends an empty request in its place, and
# succeeds.
#
# An empty message is a valid one of protobuf's, with every field at its default: so the server does
# something else than it was asked for, and neither side gets an error. grpc's synchronous channel
# raises INTERNAL. To a circuit of ours round a call of grpc.aio's, it is a success: only the log
# tells.
#
# Versions: grpcio 1.85.3, CPython 3.11.7
# Seen:
#   grpc: INTERNAL
#   grpc.aio: b'0 bytes have come'
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


async def count(request, context):
    return b"%d bytes have come" % len(request)


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(count)


def serializer(value):
    raise ValueError("out of range")


def ask_synchronously(address):
    with grpc.insecure_channel(address) as channel:
        try:
            return channel.unary_unary("/service/method", request_serializer=serializer)(-1)
        except grpc.RpcError as error:
            return error.code().name


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    print("grpc:", await asyncio.to_thread(ask_synchronously, address))
    async with grpc.aio.insecure_channel(address) as channel:
        ask = channel.unary_unary("/service/method", request_serializer=serializer)
        print("grpc.aio:", await ask(-1))
    await server.stop(None)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
grpc: INTERNAL
grpc.aio: b'0 bytes have come'
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
