#!/usr/bin/env bash
# litellm makes an HTTP status of a connection that was refused: 500.
#
# A server that cannot be reached looks like one that has answered, by class and by `status_code`.
# Whoever tries again after lost connections, but not after a server's own errors, never tries.
# Only what the error was raised from tells. Our table of clients looks there.
#
# Versions: litellm 1.110.2, CPython 3.11.7
# Seen:
#   InternalServerError 500
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
    litellm==1.110.2

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import socket

import litellm

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]  # where nobody listens

litellm.suppress_debug_info = True


async def main():
    try:
        await litellm.acompletion(
            model="openai/some-model",
            messages=[{"role": "user", "content": "why?"}],
            api_base=f"http://127.0.0.1:{port}",
            api_key="none",
            max_retries=0,
        )
    except Exception as error:
        print(type(error).__name__, error.status_code)


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
InternalServerError 500
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
