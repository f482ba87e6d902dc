#!/usr/bin/env bash
# google-genai asks a model a second time after a lost connection, if aiohttp is installed, though
# nobody asked it to.
#
# Its retries are off without `retry_options`, and so they are with httpx. But aiohttp, which it
# does not need, is used as soon as it is there; and then a call that has lost its connection sleeps
# for 1 to 10 s, by chance, and is sent once more. So somebody else's dependency makes a failure
# slower by seconds, and a prompt that the server has seen may be paid twice. `attempts=1` ends it.
# A circuit round the call counts both as one.
#
# Versions: google-genai 3.6.1, aiohttp 3.14.5, CPython 3.11.7
# Seen:
#   without aiohttp, no options: sent 1, RemoteProtocolError
#   without aiohttp, attempts=1: sent 1, RemoteProtocolError
#   with aiohttp, no options: sent 2, ServerDisconnectedError
#   with aiohttp, attempts=1: sent 1, ServerDisconnectedError
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check google-genai==3.6.1

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import sys

from google import genai
from google.genai import types


async def ask(case, options):
    sent = 0

    async def hang_up(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        sent += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    http_options = types.HttpOptions(base_url=url, retry_options=options)
    async with server, genai.Client(api_key="none", http_options=http_options).aio as client:
        try:
            await client.models.generate_content(model="model", contents="question")
        except Exception as error:
            print(f"{sys.argv[1]} aiohttp, {case}: sent {sent}, {type(error).__name__}")


async def main():
    await ask("no options", None)
    await ask("attempts=1", types.HttpRetryOptions(attempts=1))


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
without aiohttp, no options: sent 1, RemoteProtocolError
without aiohttp, attempts=1: sent 1, RemoteProtocolError
with aiohttp, no options: sent 2, ServerDisconnectedError
with aiohttp, attempts=1: sent 1, ServerDisconnectedError
TEXT

"$folder/venv/bin/python" "$folder/script.py" without | tee "$folder/seen"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aiohttp==3.14.5
"$folder/venv/bin/python" "$folder/script.py" with | tee -a "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
