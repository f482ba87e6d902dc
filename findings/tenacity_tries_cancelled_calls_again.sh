#!/usr/bin/env bash
# tenacity's `retry_if_not_exception_type` tries a call again that asyncio has cancelled, and the
# timeout that has cancelled it says nothing.
#
# It means all errors but those that are named, and so the cancellation as well; its counterpart
# `retry_if_exception_type`, which is what a loop has by default, does not. The attempt after that is
# no longer cancelled by anybody: it may run for ever, and if it succeeds, so has the timeout. On trio
# the same loop ends, since trio cancels until the block is left. Our retry decorators ask `retry_on`
# about no cancellation, and are tested with one that would say yes.
#
# Versions: tenacity 9.2.1, trio 0.35.0, CPython 3.11.7
# Seen:
#   retry_if_exception_type:
#     asyncio.timeout: TimeoutError, tries 1
#     task.cancel: CancelledError, tries 1
#     trio.fail_after: TooSlowError, tries 1
#   retry_if_not_exception_type:
#     asyncio.timeout: done, tries 2
#     task.cancel: done, tries 2
#     trio.fail_after: TooSlowError, tries 1
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
    tenacity==9.2.1 trio==0.35.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio

import tenacity
import trio


class Call:
    """Hangs at the first try, and succeeds at the second."""

    def __init__(self, strategy, forever):
        self.tries = 0
        self.forever = forever
        self.run = tenacity.retry(retry=strategy)(self.attempt)

    async def attempt(self):
        self.tries += 1
        if self.tries == 1:
            await self.forever()
        return "done"


def forever_of_asyncio():
    return asyncio.get_running_loop().create_future()


async def asyncio_timeout(strategy):
    call = Call(strategy, forever_of_asyncio)
    try:
        async with asyncio.timeout(0.1):
            return await call.run(), call.tries
    except TimeoutError as error:
        return type(error).__name__, call.tries


async def task_cancel(strategy):
    call = Call(strategy, forever_of_asyncio)
    task = asyncio.ensure_future(call.run())
    await asyncio.sleep(0.1)
    task.cancel()
    try:
        return await task, call.tries
    except asyncio.CancelledError as error:
        return type(error).__name__, call.tries


async def trio_fail_after(strategy):
    call = Call(strategy, trio.sleep_forever)
    try:
        with trio.fail_after(0.1):
            return await call.run(), call.tries
    except trio.TooSlowError as error:
        return type(error).__name__, call.tries


for strategy in (
    tenacity.retry_if_exception_type(Exception),
    tenacity.retry_if_not_exception_type(ValueError),
):
    print(f"{type(strategy).__name__}:")
    for what, ended in {
        "asyncio.timeout": asyncio.run(asyncio_timeout(strategy)),
        "task.cancel": asyncio.run(task_cancel(strategy)),
        "trio.fail_after": trio.run(trio_fail_after, strategy),
    }.items():
        print("  {}: {}, tries {}".format(what, *ended))
PYTHON

cat > "$folder/expected" <<'TEXT'
retry_if_exception_type:
  asyncio.timeout: TimeoutError, tries 1
  task.cancel: CancelledError, tries 1
  trio.fail_after: TooSlowError, tries 1
retry_if_not_exception_type:
  asyncio.timeout: done, tries 2
  task.cancel: done, tries 2
  trio.fail_after: TooSlowError, tries 1
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
