#!/usr/bin/env bash
# anyio's task groups work with asyncio's own eager task factory, and break with one that does
# the same.
#
# anyio tells an eager factory by the code object of asyncio's. An application that wraps it, to
# name or count its tasks, gets this error from code that it did not write. Our actors are tasks
# that are made without the factory, and the tests run with asyncio's own.
#
# Versions: anyio 4.16.0, CPython 3.12.1
# Seen:
#   asyncio.eager_task_factory: fine
#   one that does the same: RuntimeError: Attempted to exit a cancel scope that isn't the current tasks's current cancel scope
#
# Needs Python 3.12 or later, as $PYTHON if that is not python3. Fails if it sees something else.
set -euo pipefail

python=${PYTHON:-python3}
"$python" -c "import sys; sys.exit(sys.version_info < (3, 12))" || {
    echo "Python 3.12 or later is needed: set PYTHON"
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check anyio==4.16.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import anyio


def the_same(loop, coro, **options):
    return asyncio.Task(coro, loop=loop, **{**options, "eager_start": True})


async def wait_for(event):
    with anyio.move_on_after(10):
        await event.wait()


async def main(factory):
    asyncio.get_running_loop().set_task_factory(factory)
    event = anyio.Event()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for, event)
            await anyio.sleep(0.01)
            event.set()
    except ExceptionGroup as group:
        (error,) = group.exceptions
        return f"{type(error).__name__}: {error}"
    return "fine"


print("asyncio.eager_task_factory:", asyncio.run(main(asyncio.eager_task_factory)))
print("one that does the same:", asyncio.run(main(the_same)))
PYTHON

cat > "$folder/expected" <<'TEXT'
asyncio.eager_task_factory: fine
one that does the same: RuntimeError: Attempted to exit a cancel scope that isn't the current tasks's current cancel scope
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
