#!/usr/bin/env bash
# An error that an HTTP transport raises comes through openai's SDK as it is, and is asked again
# twice and wrapped by anthropic's.
#
# The two SDKs are made alike and ride on the same HTTP client, so that one transport with one
# refusal seems to do for both. With anthropic's, each refusal is asked for three times, with
# pauses, and its class and attributes are lost to `except`. What both let through at once is a
# child of their own base class: so our clients for them raise a refusal that is both.
#
# Versions: openai 3.57.0, anthropic 2.14.0, httpx2 2.16.2, CPython 3.11.7
# Seen:
#   openai: 1 requests, Refused
#   anthropic: 3 requests, APIConnectionError
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
    openai==3.57.0 anthropic==2.14.0 httpx2==2.16.2

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import anthropic
import httpx2
import openai


class Refused(Exception):
    pass


async def ask(name, client):
    requests = 0

    async def refuse(request):
        nonlocal requests
        requests += 1
        raise Refused

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)) as http:
        try:
            await client(api_key="none", http_client=http).models.list()
        except Exception as error:
            print(f"{name}: {requests} requests, {type(error).__name__}")


asyncio.run(ask("openai", openai.AsyncOpenAI))
asyncio.run(ask("anthropic", anthropic.AsyncAnthropic))
PYTHON

cat > "$folder/expected" <<'TEXT'
openai: 1 requests, Refused
anthropic: 3 requests, APIConnectionError
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
