#!/usr/bin/env bash
# On rloop, a sleep for an infinite time ends at once.
#
# asyncio and uvloop sleep for ever, and trio does, too. A circuit that is open until somebody
# closes it has an infinite deadline, and a timer for it would spin. Ours sets no timer that is
# longer than thirty years.
#
# Versions: rloop 0.5.0, CPython 3.11.7
# Seen:
#   asyncio's own loop: slept
#   rloop: woke
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check rloop==0.5.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import math

import rloop


async def main():
    async def wait():
        await asyncio.sleep(math.inf)
        return "woke"

    try:
        return await asyncio.wait_for(wait(), 0.5)
    except TimeoutError:
        return "slept"


for name, new_loop in (
    ("asyncio's own loop", asyncio.new_event_loop),
    ("rloop", rloop.new_event_loop),
):
    loop = new_loop()
    print(f"{name}: {loop.run_until_complete(main())}")
    loop.close()
PYTHON

cat > "$folder/expected" <<'TEXT'
asyncio's own loop: slept
rloop: woke
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
