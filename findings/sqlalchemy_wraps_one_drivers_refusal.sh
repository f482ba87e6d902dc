#!/usr/bin/env bash
# SQLAlchemy makes one error class of all drivers' errors, but not if asyncpg cannot connect.
#
# The same refused port, the same `engine.connect()`: with psycopg an `OperationalError` of
# SQLAlchemy's, with asyncpg the `ConnectionRefusedError` of the event loop, which is no
# `DBAPIError`. A retry or a circuit that goes by SQLAlchemy's classes never sees an outage once
# the driver in the URL is another one. Our policy for databases looks at both.
#
# Versions: SQLAlchemy 2.1.9, psycopg 3.3.9, asyncpg 0.32.0, CPython 3.11.7
# Seen:
#   psycopg: sqlalchemy.exc.OperationalError, a DBAPIError: True
#   asyncpg: builtins.ConnectionRefusedError, a DBAPIError: False
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
    "sqlalchemy[asyncio]==2.1.9" "psycopg[binary]==3.3.9" asyncpg==0.32.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import socket

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]  # where nobody listens


async def show(driver):
    engine = create_async_engine(f"postgresql+{driver}://user:word@127.0.0.1:{port}/name")
    try:
        async with engine.connect():
            pass
    except Exception as error:
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        print(f"{driver}: {kind}, a DBAPIError: {isinstance(error, DBAPIError)}")
    finally:
        await engine.dispose()


async def main():
    for driver in ("psycopg", "asyncpg"):
        await show(driver)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
psycopg: sqlalchemy.exc.OperationalError, a DBAPIError: True
asyncpg: builtins.ConnectionRefusedError, a DBAPIError: False
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
