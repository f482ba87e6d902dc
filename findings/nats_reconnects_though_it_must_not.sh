#!/usr/bin/env bash
# nats-py with `allow_reconnect=False` tries a server that refuses connections 61 times, for two
# minutes.
#
# The option is asked only after a connection was made. Before that, only `max_reconnect_attempts`
# counts, 60 by default, with 2 s between. So whoever switches reconnecting off, to fail at once or
# to let a retry or a circuit of his own decide, waits for two minutes, and gets an error without
# its cause. A call that a circuit guards is as long as that, unless its policy has a `timeout`. The
# script has the pauses switched off.
#
# Versions: nats-py 2.16.0, CPython 3.11.7
# Seen:
#   {}: 61 {'ConnectionRefusedError'}, NoServersError None
#   {'max_reconnect_attempts': 1}: 2 {'ConnectionRefusedError'}, NoServersError None
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check nats-py==2.16.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import socket

import nats

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]  # where nobody listens


async def connect(**options):
    tries = []

    async def count(error):
        tries.append(type(error).__name__)

    try:
        await nats.connect(
            f"nats://127.0.0.1:{port}",
            allow_reconnect=False,
            reconnect_time_wait=0,
            error_cb=count,
            **options,
        )
    except Exception as error:
        print(f"{options}: {len(tries)} {set(tries)}, {type(error).__name__} {error.__cause__}")


async def main():
    await connect()
    await connect(max_reconnect_attempts=1)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
{}: 61 {'ConnectionRefusedError'}, NoServersError None
{'max_reconnect_attempts': 1}: 2 {'ConnectionRefusedError'}, NoServersError None
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
