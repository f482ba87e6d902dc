"""Files that have been damaged, or were never what they are taken for: no command ends in a
traceback, whatever is in them. `--effort 25` tries 2,500 of each kind.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from supervisor import Outcome, Policy
from supervisor.__main__ import main
from supervisor.machine import Acquire, Machine, Settle
from supervisor.recording.format import FORMAT, plain
from supervisor.settings import written
from tests.proofs.drawn_policies import policy_fields
from tests.support.seeds import Seeds

TOML: Final = """
enabled = true
logs = "logging"
failure_threshold = 5
failure_on = ["ConnectionError", "asyncio:TimeoutError"]
window_seconds = 60.0

[circuits."api:fetchUser"]
failure_rate = 0.5
minimum_calls = 20
recovery_factor = 1.5
max_recovery_timeout = 300
ignore = "LookupError"

[circuits."tenant:*"]
throttle = 1.5
retry_budget = 0.1
retry_budget_minimum = 3

[circuits.search]
probes = 5
probe_failure_rate = 0.4
half_open_timeout = 30
classify = "json.loads"
"""

PIECES: Final = (
    *(b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1b[31m", b"\n", b"\r", b"\n\n", b"  ", b"=", b"'"),
    *(b'"', b"[", b"]", b"{", b"}", b",", b".", b"-", b"*", b"_", b"0", b"9", b"1e999", b"nan"),
    *(b"inf", b"null", b"none", b"true", b"\xe2\x80\xa8", b"\\u0000", b"\\ud800", b"0x", b"1_0"),
    *(b"9" * 400, b"9" * 5000, b"[" * 500, b'{"a":' * 2000, b"x" * 9000, b"5e-324", b"1979-05-27"),
)
"""What editors, programs and fools put into files."""


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Change some places of a file, or its whole encoding."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        begin = draw.randrange(len(content) + 1)
        end = begin + draw.choice([0, 0, 1, 1, 2, 5, 30, 300])
        piece = draw.choice([*PIECES, content[begin:end] * 2, content[begin:end][::-1]])
        content = content[:begin] + piece + content[end:]
    if draw.random() < 0.05:
        content = content.decode("latin-1").encode(draw.choice(["utf-16", "utf-16-le", "utf-32"]))
    return content[: draw.randrange(len(content) + 1)] if draw.random() < 0.1 else content


def toml(draw: random.Random) -> bytes:
    """One of settings, now and then with a policy drawn over all fields."""
    if draw.random() < 0.5:
        return TOML.encode()
    fields = {
        field: value if isinstance(value, int | float) else written(value)
        for field, value in policy_fields(draw).items()
    }
    lines = [f"{field} = {json.dumps(value)}" for field, value in fields.items()]
    return "\n".join(["[circuits.drawn]", *lines]).encode()


def recording(draw: random.Random) -> bytes:
    """One of a short life."""
    machine = Machine(Policy(**policy_fields(draw)))
    start = {"format": FORMAT, "circuit": "x", "clock_zero": 1e9, "policy": plain(machine.policy)}
    lines = [json.dumps({**start, "machine": plain(machine)})]
    for number in range(draw.randrange(1, 8)):
        at = float(number)
        asked = Acquire(number, at, draw.random())
        ended = Settle(0, 0, draw.choice([*Outcome]), at, "OSError: down \u2028 \x1b[0m")
        told = [(type(message).__name__, plain(message)) for message in (asked, ended)]
        lines += [json.dumps({kind: fields}) for kind, fields in (*told, ("Turn", {"at": at}))]
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("kind", "command"),
    [(toml, ["check", "--file"]), (toml, ["check", "--json", "--file"]), (recording, ["replay"])],
    ids=["check", "check for machines", "replay"],
)
def test_mutated_files(
    kind: Callable[[random.Random], bytes],
    command: list[str],
    seeds: Seeds,
    figures: Counter[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A status, and one line if the file cannot be used; nothing that a terminal would obey."""
    file = tmp_path / "file"
    for seed in seeds(100):
        draw = random.Random(f"{command} {seed}")
        file.write_bytes(mutated(kind(draw), draw))
        status = main([*command, str(file)])
        out, err = capsys.readouterr()
        assert status in (0, 1, 2)
        assert (err.count("\n"), bool(out)) == ((1, False) if status == 2 else (0, True))
        assert len(err) < 5000
        assert not set(out + err) & set("\x1b\x00\r\u2028")
        figures[f"mutated files that {command[0]} {'refused' if status == 2 else 'took'}"] += 1
