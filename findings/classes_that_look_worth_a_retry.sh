#!/usr/bin/env bash
# Classes of database clients that mean a lost connection have children that no other try can
# help.
#
# `except ConnectionError` around redis-py tries a wrong password again. `except OperationalError`
# around psycopg tries a pool again that the program itself has closed; it cannot be told by its
# SQLSTATE, since a refused connection has none either. Our table of clients names the children,
# and the most specific class decides.
#
# Versions: redis 8.1.0, psycopg 3.3.9, psycopg-pool 3.3.3, CPython 3.11.7
# Seen:
#   redis: a wrong password is a ConnectionError: True
#   psycopg: PoolClosed is an OperationalError, SQLSTATE None
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
    redis==8.1.0 'psycopg[binary]==3.3.9' psycopg-pool==3.3.3

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import psycopg
import psycopg_pool
import redis

wrong_password = issubclass(redis.AuthenticationError, redis.ConnectionError)
print("redis: a wrong password is a ConnectionError:", wrong_password)


async def main():
    pool = psycopg_pool.AsyncConnectionPool("host=127.0.0.1", open=False)
    try:
        await pool.getconn()
    except psycopg.OperationalError as error:
        print(f"psycopg: {type(error).__name__} is an OperationalError, SQLSTATE {error.sqlstate}")


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
redis: a wrong password is a ConnectionError: True
psycopg: PoolClosed is an OperationalError, SQLSTATE None
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
