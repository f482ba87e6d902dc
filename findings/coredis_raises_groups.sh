#!/usr/bin/env bash
# coredis raises an `ExceptionGroup` if the server refuses the connection.
#
# Its connections are tasks of a group. `except ConnectionError`, and a retry by type, never see
# it, although the error inside is one. Our retries and policies look into groups.
#
# Versions: coredis 6.9.0, CPython 3.11.7
# Seen:
#   ExceptionGroup ['ConnectionError']
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
    coredis==6.9.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import socket

import coredis

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]  # where nobody listens


async def main():
    try:
        async with coredis.Redis(host="127.0.0.1", port=port) as client:
            await client.ping()
    except Exception as error:
        inside = [type(each).__name__ for each in getattr(error, "exceptions", ())]
        print(type(error).__name__, inside)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
ExceptionGroup ['ConnectionError']
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
