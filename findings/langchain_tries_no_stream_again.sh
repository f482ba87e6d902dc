#!/usr/bin/env bash
# langchain's `with_retry` tries a call again, but never a stream of the same model or chain, though
# nothing of it has come.
#
# What `with_retry` returns has `astream` like any other; a failure before the first item comes out
# of it at once, as if there were no retry. Neither the name nor the description of `with_retry`
# says so. So a chain that has been tried with `ainvoke` loses its retries when its answers are
# streamed. Our retries for streams try again until the first item has come.
#
# Versions: langchain-core 1.8.3, CPython 3.11.7
# Seen:
#   ainvoke: tries 3
#   astream: tries 1
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check langchain-core==1.8.3

cat > "$folder/script.py" <<'PYTHON'
import asyncio

from langchain_core.runnables import RunnableLambda


async def main():
    tries = 0

    async def fail(question):
        nonlocal tries
        tries += 1
        raise ConnectionError

    model = RunnableLambda(fail).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    try:
        await model.ainvoke("question")
    except ConnectionError:
        print("ainvoke: tries", tries)
    tries = 0
    try:
        async for _ in model.astream("question"):
            pass
    except ConnectionError:
        print("astream: tries", tries)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
ainvoke: tries 3
astream: tries 1
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
