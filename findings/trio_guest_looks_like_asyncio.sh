#!/usr/bin/env bash
# In trio's guest mode, code of trio's is told that asyncio's loop runs.
#
# A trio run may be the guest of an asyncio loop, in one thread. What runs in it finds a running
# loop by `asyncio.get_running_loop()`, although it is no task of that loop. A check by that
# function takes the host's circuits for those of the guest. Ours asks sniffio's question first:
# whose turn is it.
#
# Versions: trio 0.35.0, sniffio 1.3.1, CPython 3.11.7
# Seen:
#   sniffio: trio
#   asyncio.get_running_loop(): the host's loop
#   asyncio.current_task(): None
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check trio==0.35.0 sniffio==1.3.1

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import sniffio
import trio


async def guest(host):
    print("sniffio:", sniffio.current_async_library())
    same = asyncio.get_running_loop() is host
    print("asyncio.get_running_loop():", "the host's loop" if same else "another loop")
    print("asyncio.current_task():", asyncio.current_task())


async def main():
    host = asyncio.get_running_loop()
    ended = host.create_future()
    trio.lowlevel.start_guest_run(
        guest,
        host,
        run_sync_soon_threadsafe=host.call_soon_threadsafe,
        done_callback=ended.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    (await ended).unwrap()


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
sniffio: trio
asyncio.get_running_loop(): the host's loop
asyncio.current_task(): None
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
