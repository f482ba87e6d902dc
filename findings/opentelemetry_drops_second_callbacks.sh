#!/usr/bin/env bash
# OpenTelemetry's SDK never calls the callbacks of an observable instrument that was created before.
#
# Creating an instrument twice returns the first one, as specified; but the callbacks given the second
# time are dropped, without a log line. Two parts of a program that observe the same instrument, each
# for what it has, look fine alone, and together one of them tells nothing. Ours refuses a second time
# for a meter provider.
#
# Versions: opentelemetry-sdk 1.45.2, CPython 3.11.7
# Seen:
#   collected: ['first']
#   log lines: 0
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2

cat > "$folder/script.py" <<'PYTHON'
import logging

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

lines = []
handler = logging.Handler()
handler.emit = lines.append
logging.basicConfig(handlers=[handler], level=logging.DEBUG)

reader = InMemoryMetricReader()
meter = MeterProvider([reader]).get_meter("example")


def observer(name):
    return lambda options: [Observation(1, {"part": name})]


for part in ("first", "second"):
    meter.create_observable_gauge("queue.length", callbacks=[observer(part)])
(metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print("collected:", [point.attributes["part"] for point in metric.data.data_points])
print("log lines:", len(lines))
PYTHON

cat > "$folder/expected" <<'TEXT'
collected: ['first']
log lines: 0
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
