#!/usr/bin/env bash
# With any interceptor, even one that does nothing, a call of grpc.aio's no longer knows how much of
# its time is left.
#
# `time_remaining()` is part of every call, and raises `NotImplementedError` once the channel has an
# interceptor for that kind of call. So a program that passes on its deadline breaks when somebody
# adds tracing, and only where it asks. Our guard is an interceptor: its page names this one method.
#
# Versions: grpcio 1.85.3, CPython 3.11.7
# Seen:
#   no interceptor: time left: known, b'answer'
#   an interceptor: time left: NotImplementedError, b'answer'
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


class Nothing(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation, details, request):
        return await continuation(details, request)


async def answer(request, context):
    return b"answer"


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(answer)


async def ask(address, interceptors):
    async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
        call = channel.unary_unary("/service/method")(b"", timeout=60)
        try:
            left = "known" if 0 < call.time_remaining() <= 60 else "wrong"
        except NotImplementedError as error:
            left = type(error).__name__
        return f"time left: {left}, {await call}"


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    print("no interceptor:", await ask(address, []))
    print("an interceptor:", await ask(address, [Nothing()]))
    await server.stop(None)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
no interceptor: time left: known, b'answer'
an interceptor: time left: NotImplementedError, b'answer'
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
