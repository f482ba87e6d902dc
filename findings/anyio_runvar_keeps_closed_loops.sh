#!/usr/bin/env bash
# What is kept in anyio's `RunVar` and knows its event loop keeps that loop alive after it is
# closed.
#
# `RunVar` is anyio's place for what belongs to a run. On asyncio its values stand in a dictionary
# whose keys are weak, but a value that refers to its own key is never freed. A worker with a loop
# per job grows for ever. Our supervisors are kept by the loop itself.
#
# Versions: anyio 4.16.0, CPython 3.11.7
# Seen:
#   kept by an attribute of the loop: 0 of 20 closed loops alive
#   kept by a RunVar: 20 of 20 closed loops alive
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
import gc
import weakref

from anyio.lowlevel import RunVar

variable = RunVar("owner")


class Owner:
    def __init__(self, loop):
        self.loop = loop


async def main(how):
    loop = asyncio.get_running_loop()
    if how == "a RunVar":
        variable.set(Owner(loop))
    else:
        loop.owner = Owner(loop)


for how in ("an attribute of the loop", "a RunVar"):
    loops = []
    for _ in range(20):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main(how))
        loop.close()
        loops.append(weakref.ref(loop))
    del loop
    gc.collect()
    alive = sum(loop() is not None for loop in loops)
    print(f"kept by {how}: {alive} of 20 closed loops alive")
PYTHON

cat > "$folder/expected" <<'TEXT'
kept by an attribute of the loop: 0 of 20 closed loops alive
kept by a RunVar: 20 of 20 closed loops alive
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
