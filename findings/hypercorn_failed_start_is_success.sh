#!/usr/bin/env bash
# hypercorn ends with status 0 when the application says that its start has failed.
#
# The worker process raises and ends, and the main process takes that for the end of the work. Whoever
# watches the service sees a success: `Restart=on-failure` of systemd and a job's `OnFailure` do
# nothing. With `--workers 0` there is no worker process, and the status is 1. uvicorn's is 3.
#
# Versions: hypercorn 0.18.0, uvicorn 0.54.0, CPython 3.11.7
# Seen:
#   hypercorn: 0
#   hypercorn --workers 0: 1
#   uvicorn: 3
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
    hypercorn==0.18.0 uvicorn==0.54.0

cat > "$folder/site_that_fails.py" <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
PYTHON

cat > "$folder/expected" <<'TEXT'
hypercorn: 0
hypercorn --workers 0: 1
uvicorn: 3
TEXT

cd "$folder"
ends() {
    local what=$1 status=0
    shift
    "$folder/venv/bin/python" -m "$@" site_that_fails:app > log 2>&1 || status=$?
    grep -q "no database" log
    echo "$what: $status"
}
{
    ends hypercorn hypercorn --bind "unix:$folder/s"
    ends "hypercorn --workers 0" hypercorn --workers 0 --bind "unix:$folder/s"
    ends uvicorn uvicorn --uds "$folder/s"
} | tee seen
diff expected seen && echo "as it was seen"
