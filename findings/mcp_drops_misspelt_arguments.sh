#!/usr/bin/env bash
# A server of mcp's drops arguments that its tool does not have, and calls the tool without them.
#
# A model that misspells an optional argument gets a result, with `is_error` false: of another call
# than it meant. A misspelt argument that is required is an error that names it, so the model mends
# it. The schema that the model has seen says nothing of surplus arguments. To a circuit and a
# retry, the call is a success.
#
# Versions: mcp 2.3.0, CPython 3.11.7
# Seen:
#   surplus arguments in the schema: None
#   {'path': 'notes', 'dry_run': True}: would delete notes
#   {'path': 'notes', 'dryrun': True}: has deleted notes
#   {'file': 'notes'}: an error
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mcp==2.3.0

cat > "$folder/script.py" <<'PYTHON'
import asyncio

from mcp import Client
from mcp.server import MCPServer

tools = MCPServer("tools")


@tools.tool()
async def delete(path: str, dry_run: bool = False) -> str:
    return f"would delete {path}" if dry_run else f"has deleted {path}"


async def main():
    async with Client(tools) as client:
        schema = (await client.list_tools()).tools[0].input_schema
        print("surplus arguments in the schema:", schema.get("additionalProperties"))
        for arguments in (
            {"path": "notes", "dry_run": True},
            {"path": "notes", "dryrun": True},
            {"file": "notes"},
        ):
            result = await client.call_tool("delete", arguments)
            text = "an error" if result.is_error else result.content[0].text
            print(f"{arguments}: {text}")


asyncio.run(main())
PYTHON

cat > "$folder/expected" <<'TEXT'
surplus arguments in the schema: None
{'path': 'notes', 'dry_run': True}: would delete notes
{'path': 'notes', 'dryrun': True}: has deleted notes
{'file': 'notes'}: an error
TEXT

"$folder/venv/bin/python" "$folder/script.py" | tee "$folder/seen"
diff "$folder/expected" "$folder/seen" && echo "as it was seen"
