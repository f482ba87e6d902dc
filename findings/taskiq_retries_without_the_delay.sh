#!/usr/bin/env bash
# taskiq's SmartRetryMiddleware logs that it tries a job again in 30 s, and it is tried at once.
#
# The delay, with its jitter and its exponential back-off, is a label of the message, and a label does
# something only with a broker that knows it. Those of taskiq-redis do not, and nothing says so. So
# all tries of a job are over within a moment, while the server that it needs is down, or its circuit
# open. A `schedule_source` is told the time. Our page on jobs says to give one.
#
# Versions: taskiq 0.13.0, taskiq-redis 1.2.4, fakeredis 2.41.0, CPython 3.11.7
# Seen:
#   ListQueueBroker:
#     logged: Retrying 1/3 in 30.00 seconds.
#     logged: Retrying 2/3 in 30.00 seconds.
#     seconds between the 3 tries: [0, 0]
#   RedisStreamBroker:
#     logged: Retrying 1/3 in 30.00 seconds.
#     logged: Retrying 2/3 in 30.00 seconds.
#     seconds between the 3 tries: [0, 0]
#   ListQueueBroker and a schedule source:
#     logged: Retrying 1/3 in 30.00 seconds.
#     scheduled: in 30 s
#     seconds between the 1 tries: []
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
    taskiq==0.13.0 taskiq-redis==1.2.4 'fakeredis[lua]==2.41.0'

cat > "$folder/script.py" <<'PYTHON'
import asyncio
import logging
import re
import threading
import time
from datetime import UTC, datetime

from fakeredis import TcpFakeServer
from taskiq import ScheduleSource, SmartRetryMiddleware
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisStreamBroker


class Logged(logging.Handler):
    def emit(self, record):
        for text in re.findall("Retrying .*", record.getMessage()):
            print(f"  logged: {text}")


class Scheduled(ScheduleSource):
    async def get_schedules(self):
        return []

    async def add_schedule(self, schedule):
        left = (schedule.time - datetime.now(UTC)).total_seconds()
        print(f"  scheduled: in {left:.0f} s")


async def tries(broker, most, schedule_source=None):
    broker.add_middlewares(
        SmartRetryMiddleware(
            default_retry_count=3, default_delay=30, schedule_source=schedule_source
        )
    )
    tried, last = [], asyncio.Event()

    @broker.task("job", retry_on_error=True)
    async def job():
        tried.append(time.monotonic())
        if len(tried) == most:
            last.set()
        raise ConnectionError("the server is down")

    await broker.startup()
    worker = asyncio.create_task(run_receiver_task(broker))
    await job.kiq()
    async with asyncio.timeout(25):
        await last.wait()
    await asyncio.sleep(1)  # for what comes after it
    worker.cancel()
    await asyncio.wait([worker])
    await broker.shutdown()
    between = [round(after - before) for before, after in zip(tried, tried[1:])]
    print(f"  seconds between the {len(tried)} tries: {between}")


async def main():
    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"redis://127.0.0.1:{server.server_address[1]}"
    print("ListQueueBroker:")
    await tries(ListQueueBroker(url), 3)
    print("RedisStreamBroker:")
    await tries(RedisStreamBroker(url, queue_name="stream"), 3)
    print("ListQueueBroker and a schedule source:")
    await tries(ListQueueBroker(url, queue_name="scheduled"), 1, Scheduled())


logging.getLogger("taskiq").propagate = False
logging.getLogger("taskiq").setLevel("INFO")
logging.getLogger("taskiq").addHandler(Logged())
asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
ListQueueBroker:
  logged: Retrying 1/3 in 30.00 seconds.
  logged: Retrying 2/3 in 30.00 seconds.
  seconds between the 3 tries: [0, 0]
RedisStreamBroker:
  logged: Retrying 1/3 in 30.00 seconds.
  logged: Retrying 2/3 in 30.00 seconds.
  seconds between the 3 tries: [0, 0]
ListQueueBroker and a schedule source:
  logged: Retrying 1/3 in 30.00 seconds.
  scheduled: in 30 s
  seconds between the 1 tries: []
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
