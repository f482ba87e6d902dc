#!/usr/bin/env bash
# A scope of anyio's lets its own cancellation out, if an `asyncio.timeout` in it ends in its turn.
#
# Both cancel the same task, and asyncio makes one error of it. The later request replaces the
# message, by which anyio knows its own cancellations. `asyncio.timeout` sees that somebody else has
# cancelled, too, and lets the error through; the scope takes it for a cancellation of asyncio's, and
# lets it through as well. So `move_on_after` ends the task round it, and with it a whole group.
# It takes an event loop that is late, and a task that has just let others run.
#
# The limit of a policy's `timeout` is of our own for that reason: it lets a cancellation in the same
# turn go first.
#
# Versions: anyio 4.16.0, CPython 3.11.7
# Seen:
#   the scope's time is over first: CancelledError comes out
#   the timeout's is over first: the scope ends
#   both are anyio's: the scope ends
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check anyio==4.16.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import time
from contextlib import asynccontextmanager

import anyio


async def work():
    time.sleep(0.1)  # the event loop is late, and both times are over
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(10)


@asynccontextmanager
async def anyio_limit(seconds):
    with anyio.fail_after(seconds):
        yield


async def outcome(outside, inside, limit):
    try:
        with anyio.move_on_after(outside):
            try:
                async with limit(inside):
                    await work()
            except TimeoutError:
                await asyncio.sleep(10)
    except asyncio.CancelledError:
        return "CancelledError comes out"
    return "the scope ends"


async def main():
    for case, arguments in {
        "the scope's time is over first": (0.01, 0.02, asyncio.timeout),
        "the timeout's is over first": (0.02, 0.01, asyncio.timeout),
        "both are anyio's": (0.01, 0.02, anyio_limit),
    }.items():
        task = asyncio.ensure_future(outcome(*arguments))
        print(f"{case}: {await task}")


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
the scope's time is over first: CancelledError comes out
the timeout's is over first: the scope ends
both are anyio's: the scope ends
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
