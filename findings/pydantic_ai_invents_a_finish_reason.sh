#!/usr/bin/env bash
# pydantic-ai takes a stream of OpenAI's kind that just stops for a whole one, and invents the
# reason.
#
# The protocol ends a stream by a `finish_reason` and `[DONE]`. A proxy that gives up ends the body
# without either. Then the response is `complete`, and its `finish_reason` is `stop`: what a model
# says that has nothing to add. So half an answer is taken for a whole one, and is a success. A
# profile with `openai_chat_streaming_requires_finish_reason` makes it an error; our page says to
# use that.
#
# Versions: pydantic-ai-slim 2.68.0, openai 3.57.0, CPython 3.11.7
# Seen:
#   'It is safe, if': complete, stop
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
    "pydantic-ai-slim[openai]==2.68.0" openai==3.57.0

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


async def stop_in_the_middle(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    writer.write(b"Connection: close\r\n\r\n" + event("It is safe, if"))
    writer.close()


async def main():
    server = await asyncio.start_server(stop_in_the_middle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    model = OpenAIChatModel("model", provider=OpenAIProvider(base_url=url, api_key="none"))
    async with server, model_request_stream(model, QUESTION) as stream:
        async for _ in stream:
            pass
        response = stream.get()
        print(f"{response.text!r}: {response.state}, {response.finish_reason}")


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
'It is safe, if': complete, stop
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
