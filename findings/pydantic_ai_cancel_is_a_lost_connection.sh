#!/usr/bin/env bash
# Whoever cancels a stream of pydantic-ai's and openai's gets a `ModelConnectionError` from it.
#
# pydantic-ai means a cancelled stream to end quietly: it closes the connection, and hides the error
# of the HTTP client that comes of that. But openai's SDK has wrapped that error, and pydantic-ai
# has wrapped it again, before it looks. So a user who presses "stop" is a failure of the model to
# retries, fallbacks and circuits. Our guard looks whether the stream was cancelled.
#
# Versions: pydantic-ai-slim 2.68.0, openai 3.57.0, httpx2 2.16.2, CPython 3.11.7
# Seen:
#   cancelled by its reader: interrupted, ModelConnectionError
#   cancelled by another task: interrupted, ModelConnectionError
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
    "pydantic-ai-slim[openai]==2.68.0" openai==3.57.0 httpx2==2.16.2

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import json

from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

QUESTION = [ModelRequest.user_text_prompt("question")]


def event(text):
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "model"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"


async def hang(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    writer.write(b"Connection: close\r\n\r\n" + event("It is"))
    await reader.read()
    writer.close()


async def read(stream, cancel=False):
    try:
        async for _ in stream:
            if cancel:
                await stream.cancel()
    except Exception as error:
        return f"{stream.get().state}, {type(error).__name__}"
    return f"{stream.get().state}, the stream ends"


async def main():
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    model = OpenAIChatModel("model", provider=OpenAIProvider(base_url=url, api_key="none"))
    async with server:
        async with model_request_stream(model, QUESTION) as stream:
            print("cancelled by its reader:", await read(stream, cancel=True))
        async with model_request_stream(model, QUESTION) as stream:
            reader = asyncio.create_task(read(stream))
            await asyncio.sleep(0.5)
            await stream.cancel()
            print("cancelled by another task:", await reader)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
cancelled by its reader: interrupted, ModelConnectionError
cancelled by another task: interrupted, ModelConnectionError
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
