"""What is imported when: by whom nothing but a breaker is made, no library that others need.

In processes of their own, since this one has imported everything.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import supervisor
from supervisor import instrumentation, settings, sharing

LATE = ("pydantic", "pydantic_settings", "tenacity")
DOORS = (supervisor, instrumentation, settings, sharing)

OUTAGE = f"""
import sys
import anyio
from supervisor import CircuitBreaker, CircuitBreakerOpenError

search = CircuitBreaker("search", failure_threshold=1)

async def fail():
    raise ConnectionError("down")

async def main():
    for error in (ConnectionError, CircuitBreakerOpenError):
        try:
            await search.call(fail)
        except error:
            pass

def late():
    return [name for name in {LATE} if name in sys.modules]
"""
"""A circuit opens, and refuses."""

RUN = "anyio.run(main)\n"
ENABLE = 'logger.enable("supervisor")\n'
SINK = """
logger.remove()
logger.add(sys.stdout, format="{message}", level="WARNING")
"""


def output(code: str, directory: Path, **variables: str) -> list[str]:
    """What a program prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "options", ["", ", backend_options={'use_uvloop': True}", ", backend='trio'"]
)
def test_a_plain_breaker_needs_no_other_library(options: str, tmp_path: Path) -> None:
    """Neither when it is made, nor when it opens and refuses: no variable says anything."""
    code = f"{OUTAGE}\nprint(late())\nanyio.run(main{options})\nprint(late())"
    assert output(code, tmp_path) == ["[]", "[]"]


@pytest.mark.parametrize(
    ("use", "needed"),
    [
        ("app_settings.circuit_breaker", {"pydantic", "pydantic_settings"}),
        ("app_settings.retry", {"pydantic", "pydantic_settings"}),
        ("CircuitOverrides", {"pydantic"}),
        ("is_retryable_error", {"tenacity"}),
        ("retry", {"tenacity"}),
    ],
)
def test_what_is_used_is_imported(use: str, needed: set[str], tmp_path: Path) -> None:
    """By then."""
    code = f"import supervisor\n{OUTAGE}\nassert not late()\nsupervisor.{use}\nprint(*late())"
    (found,) = output(code, tmp_path)
    assert needed <= set(found.split())


@pytest.mark.parametrize("where", ["variable", "file"])
def test_settings_are_read_where_there_are_any(where: str, tmp_path: Path) -> None:
    """By a circuit's first failure at the latest."""
    variables = {"BINDU_CB_KEEP": "process"} if where == "variable" else {}
    if where == "file":
        (tmp_path / ".env").write_text("BINDU_CB_KEEP=process\n")
    code = f"{OUTAGE}{RUN}from supervisor import current_supervisor\n"
    code += "async def keep(): print(current_supervisor().keep)\nanyio.run(keep)"
    assert output(code, tmp_path, **variables) == ["process"]


# Lines by loguru


@pytest.mark.parametrize("first", ["loguru", "supervisor"])
@pytest.mark.parametrize(
    ("told", "lines"),
    [
        ("", []),
        (ENABLE, ["circuit search: closed -> open"]),
        ('logger.enable("")\n', ["circuit search: closed -> open"]),
        (ENABLE + 'logger.disable("supervisor")\n', []),
    ],
)
def test_lines_are_off_until_they_are_switched_on(
    first: str, told: str, lines: list[str], tmp_path: Path
) -> None:
    """Whichever of the two is imported first."""
    imports = ["from loguru import logger\n", OUTAGE]
    code = "".join(imports if first == "loguru" else imports[::-1])
    assert output(code + SINK + told + RUN, tmp_path)[:1] == lines


# Names


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_names_are_there_that_are_not_imported(door: Any, tmp_path: Path) -> None:
    """For `dir`, and for whoever imports all of them."""
    code = f"import {door.__name__} as door\nassert set(door.__all__) <= set(dir(door))\n"
    code += f"from {door.__name__} import *\nassert set(door.__all__) <= set(globals())"
    assert output(code, tmp_path) == []
    assert set(door.__all__) <= set(dir(door))
    for name in door.__all__:
        assert getattr(door, name) is vars(door)[name], "it is an attribute from then on"


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_misspelt_name(door: Any) -> None:
    """Is told of as by any module."""
    with pytest.raises(AttributeError, match=f"module '{door.__name__}' has no attribute 'nme'"):
        _ = door.nme
    with pytest.raises(ImportError, match="cannot import name 'nme'"):
        exec(f"from {door.__name__} import nme")


def test_what_is_imported_late_can_be_sent_elsewhere() -> None:
    """By its name."""
    for thing in (supervisor.RetrySettings, supervisor.retry_api_call, supervisor.Recording):
        assert pickle.loads(pickle.dumps(thing)) is thing
