#!/usr/bin/env bash
# psycopg's pool does not try to connect for a caller while it waits before its own next attempt.
#
# After an attempt that failed it waits 1 second, 2, 4 …, up to `reconnect_timeout` (5 minutes); a
# caller who comes in between gets a `PoolTimeout` though the server is back, and nobody has asked
# it. So a circuit's probe says nothing of the server: two back-offs add up. Our guide for databases
# says how one of them is left.
#
# Versions: psycopg-pool 3.3.3, psycopg 3.3.9, CPython 3.11.7
# Seen:
#   the server listens again; to a caller, who waits a second: PoolTimeout
#   connections that the server has seen: 0
#   the same without a pool: OperationalError
#   connections that the server has seen: 1
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
    "psycopg[binary]==3.3.9" psycopg-pool==3.3.3

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import logging
import socket

import psycopg
from psycopg_pool import AsyncConnectionPool

logging.getLogger("psycopg.pool").setLevel("CRITICAL")
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
address = f"host=127.0.0.1 port={port} user=user dbname=name connect_timeout=5"
seen = 0


async def turn_away(reader, writer):
    global seen
    seen += 1
    writer.close()


async def main():
    async with AsyncConnectionPool(address, min_size=1, max_size=1, open=False) as pool:
        while pool.get_stats().get("connections_errors", 0) < 3:
            await asyncio.sleep(0.05)  # the pool waits about 4 seconds now
        async with await asyncio.start_server(turn_away, "127.0.0.1", port):
            try:
                async with pool.connection(timeout=1.0):
                    pass
            except Exception as error:
                said = type(error).__name__
                print("the server listens again; to a caller, who waits a second:", said)
            print("connections that the server has seen:", seen)
            try:
                await psycopg.AsyncConnection.connect(address)
            except Exception as error:
                print("the same without a pool:", type(error).__name__)
            print("connections that the server has seen:", seen)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
the server listens again; to a caller, who waits a second: PoolTimeout
connections that the server has seen: 0
the same without a pool: OperationalError
connections that the server has seen: 1
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
