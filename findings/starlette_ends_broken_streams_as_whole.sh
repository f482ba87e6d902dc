#!/usr/bin/env bash
# Below Starlette's BaseHTTPMiddleware, which FastAPI's `@app.middleware("http")` makes, a streaming
# response that breaks is ended as if it were whole; its error comes out only afterwards.
#
# The middleware takes the response's messages from a stream, which the application's error merely
# closes. So it sends the last, empty part of the body, and raises then. Clients see a whole answer:
# whoever reads half a list cannot know. A refusal at the first item of a stream is an empty 200.
# What helps is to catch the error below that middleware: `RefusalMiddleware` belongs inside of it, and
# our page on web users says so. After the first part, nothing does but to have no such middleware.
#
# Versions: starlette 1.10.0, CPython 3.11.7
# Seen:
#   alone: 200, b'some', then OSError; whole: False
#   below the middleware: 200, b'some', then OSError; whole: True
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check starlette==1.10.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
from starlette.routing import Route


async def items():
    yield b"some"
    raise OSError("the rest is gone")


async def page(request):
    return StreamingResponse(items())


async def passed_on(request, call_next):
    return await call_next(request)


async def ask(what, *middleware):
    app = Starlette(routes=[Route("/", page)], middleware=middleware)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    sent = []
    requests = iter([{"type": "http.request"}])

    async def receive():
        return next(requests, None) or await asyncio.sleep(600)

    async def send(message):
        sent.append(message)

    error = None
    try:
        await app(scope, receive, send)
    except Exception as raised:
        error = type(raised).__name__
    body = b"".join(each.get("body", b"") for each in sent)
    whole = not sent[-1].get("more_body", False)
    print(f"{what}: {sent[0]['status']}, {body}, then {error}; whole: {whole}")


asyncio.run(ask("alone"))
asyncio.run(ask("below the middleware", Middleware(BaseHTTPMiddleware, dispatch=passed_on)))
PYTHON

cat > "$folder/expected" <<'TEXT'
alone: 200, b'some', then OSError; whole: False
below the middleware: 200, b'some', then OSError; whole: True
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
