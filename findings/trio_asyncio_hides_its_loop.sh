#!/usr/bin/env bash
# trio-asyncio replaces a function of asyncio's: who imported it by name before finds no loop in
# there.
#
# `asyncio._get_running_loop` answers without raising, so libraries import it by name. Inside of
# trio-asyncio the name that was bound before answers None, and the same program works if its
# imports are in another order. Ours looks it up each time, and is tested in both orders.
#
# Versions: trio-asyncio 0.16.0, trio 0.35.0, CPython 3.11.7
# Seen:
#   looked up when called: a loop
#   imported by name, before trio-asyncio: None
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check trio==0.35.0 trio-asyncio==0.16.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio
from asyncio import _get_running_loop as bound_before

import trio
import trio_asyncio


async def inner():
    found = asyncio._get_running_loop()
    print("looked up when called:", "None" if found is None else "a loop")
    found = bound_before()
    print("imported by name, before trio-asyncio:", "None" if found is None else "a loop")


async def main():
    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(inner)()


trio.run(main)
PYTHON

cat > "$folder/expected" <<'TEXT'
looked up when called: a loop
imported by name, before trio-asyncio: None
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
