#!/usr/bin/env bash
# granian empties the lifespan's `state` before it tells the application that it ends.
#
# ASGI's `scope["state"]` is where a lifespan puts what requests need, and the one place where its
# end can look for it, if the two halves are two functions. On uvicorn and hypercorn it is there at
# the end; on granian the same dictionary is empty, so that what is to be closed by it is not found.
# Our middleware keeps its supervisor in a variable of its own, and our page on web users says so.
#
# Versions: granian 2.8.9, uvicorn 0.54.0, hypercorn 0.18.0, CPython 3.11.7
# Seen:
#   uvicorn:
#     a request: {'pool': 'a pool'}
#     the end: {'pool': 'a pool'}
#   hypercorn:
#     a request: {'pool': 'a pool'}
#     the end: {'pool': 'a pool'}
#   granian:
#     a request: {'pool': 'a pool'}
#     the end: {}
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
    granian==2.8.9 uvicorn==0.54.0 hypercorn==0.18.0

cat > "$folder/script.py" <<'PYTHON'
import contextlib
import os
import socket
import subprocess
import sys
import time

SITE = """
async def app(scope, receive, send):
    state = scope["state"]
    if scope["type"] == "lifespan":
        await receive()
        state["pool"] = "a pool"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("  the end:", state, flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    else:
        print("  a request:", state, flush=True)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
"""
COMMANDS = {
    "uvicorn": ["--log-level", "critical", "--uds", "s"],
    "hypercorn": ["--log-level", "critical", "--bind", "unix:s"],
    "granian": ["--no-log", "--interface", "asgi", "--uds", "s"],
}

with open("site_with_state.py", "w") as file:
    file.write(SITE)
for name, options in COMMANDS.items():
    print(f"{name}:", flush=True)
    process = subprocess.Popen([sys.executable, "-m", name, *options, "site_with_state:app"])
    ends = time.monotonic() + 60
    with socket.socket(socket.AF_UNIX) as connection:
        while process.poll() is None and time.monotonic() < ends:
            with contextlib.suppress(OSError):
                connection.connect("s")
                break
            time.sleep(0.1)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n")
        connection.recv(100)
    process.terminate()
    process.wait()
    with contextlib.suppress(OSError):
        os.remove("s")
PYTHON

cat > "$folder/expected" <<'TEXT'
uvicorn:
  a request: {'pool': 'a pool'}
  the end: {'pool': 'a pool'}
hypercorn:
  a request: {'pool': 'a pool'}
  the end: {'pool': 'a pool'}
granian:
  a request: {'pool': 'a pool'}
  the end: {}
TEXT

cd "$folder"
venv/bin/python script.py | tee seen
diff expected seen && echo "as it was seen"
