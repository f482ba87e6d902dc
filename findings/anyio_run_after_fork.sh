#!/usr/bin/env bash
# In a process that was forked inside a task, `anyio.run` works or refuses, by whether sniffio is
# installed; `asyncio.run` works.
#
# Pools and servers that fork do so while a loop runs. asyncio forgets the parent's loop in the
# child. But if sniffio is there, which anyio does not need and trio brings along, anyio looks at its
# note of which library runs: a context variable, which the child inherits. So a program that forks
# stops working when somebody installs trio. Our circuits find the child's loop in either case, and
# are tested in children that begin with `asyncio.run`.
#
# Versions: anyio 4.16.0, sniffio 1.3.1, CPython 3.11.7
# Seen:
#   without sniffio: anyio.run: ran, asyncio.run: ran
#   with sniffio: anyio.run: RuntimeError: Already running asyncio in this thread, asyncio.run: ran
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
import os
import sys

import anyio


async def child():
    return "ran"


async def main():
    process = os.fork()
    if not process:
        said = []
        for name, run in (("anyio.run", anyio.run), ("asyncio.run", lambda f: asyncio.run(f()))):
            try:
                said.append(f"{name}: {run(child)}")
            except RuntimeError as error:
                said.append(f"{name}: RuntimeError: {error}")
        print(f"{sys.argv[1]} sniffio: {', '.join(said)}", flush=True)
        os._exit(0)
    os.waitpid(process, 0)


anyio.run(main)
PYTHON

cat > "$folder/expected" <<'TEXT'
without sniffio: anyio.run: ran, asyncio.run: ran
with sniffio: anyio.run: RuntimeError: Already running asyncio in this thread, asyncio.run: ran
TEXT

{
    "$folder/venv/bin/python" "$folder/script.py" without
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check sniffio==1.3.1
    "$folder/venv/bin/python" "$folder/script.py" with
} | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
