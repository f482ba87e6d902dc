"""What users of other libraries look for: each row names what there is here, or says why not."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from typing import Final, NamedTuple

import pytest

import supervisor
from tests.docs.documents import DOCS, ROOT

PAGE: Final = (DOCS / "how-to" / "move-from-another-library.md").read_text(encoding="utf-8")
ROW: Final = re.compile(r"^\|(.+)\|$", re.MULTILINE)
CELL_ENDS: Final = re.compile(r"(?<!\\)\|")
CODE: Final = re.compile(r"`([^`]+)`")
NAME: Final = re.compile(r"[A-Za-z_]\w+")
NOT_HERE: Final = "\N{EN DASH}"
NOTHING: Final = (NOT_HERE, "always", "never")
"""What stands where there is nothing to be named."""

PUBLIC: Final = (
    supervisor.CircuitBreaker,
    supervisor.CircuitBreakerOpenError,
    supervisor.Figures,
    supervisor.Permit,
    supervisor.StateChanged,
    supervisor.Statistics,
    supervisor.Supervisor,
)
"""Classes whose attributes and arguments may be named."""

OF_THE_LANGUAGE: Final = {"async", "with", "class", "breaker", "supervisor", "False", "Slow"}


class Row(NamedTuple):
    """One feature."""

    what: str
    there: str
    here: str
    why: str


def cells_of(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in CELL_ENDS.split(line))


def rows() -> Iterator[Row]:
    """The rows of all tables that compare."""
    comparing = False
    for line in PAGE.splitlines():
        match = ROW.match(line)
        if match is None:
            comparing = False
            continue
        cells = cells_of(match[1])
        if cells == ("what", "there", "here", "what is different"):
            comparing = True
        elif comparing and set(line) - set("|- "):
            yield Row(*cells)


ROWS: Final = list(rows())


def libraries() -> dict[str, str]:
    """The libraries that are compared, and their versions."""
    table = PAGE[PAGE.index("## The libraries") : PAGE.index("## When a circuit opens")]
    found = [cells_of(match[1]) for match in ROW.finditer(table)][2:]
    return {name: version for name, version, _ in found}


def names_here() -> set[str]:
    """All that may be named as ours."""
    names = set(supervisor.__all__) | OF_THE_LANGUAGE
    names |= {field.name for field in fields(supervisor.Policy)}
    names |= {field.name for field in fields(supervisor.Failure)}
    for each in PUBLIC:
        for name, member in inspect.getmembers(each):
            if not name.startswith("_"):
                names.add(name)
                if inspect.isfunction(member):
                    names |= set(inspect.signature(member).parameters)
        names |= set(inspect.signature(each).parameters)
    return names | {"fallback"}  # which `call` takes out of any keywords


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_what_is_here_is_there_in_code(row: Row) -> None:
    """Fields, methods and arguments by their names; where there is none, the reason is told."""
    named = {name for code in CODE.findall(row.here) for name in NAME.findall(code)}
    assert named - names_here() == set()
    assert named or row.here in NOTHING
    if row.here == NOT_HERE:
        assert len(row.why) > 30


def test_every_field_of_a_policy_is_compared() -> None:
    """With what others have of the kind, or since they have not."""
    named = {name for row in ROWS for name in NAME.findall(row.here)}
    assert {field.name for field in fields(supervisor.Policy)} - named == set()


@pytest.mark.parametrize("library", libraries())
def test_every_library_is_compared(library: str) -> None:
    """In more rows than one."""
    assert sum(library in row.there for row in ROWS) > 3


def test_versions_are_those_that_the_benchmarks_run() -> None:
    """As far as those run them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = dict(
        each.split("==") for each in project["dependency-groups"]["bench"] if "==" in each
    )
    pinned["interlock"] = pinned["interlock-cb"]
    both = libraries().keys() & pinned.keys()
    assert len(both) == 8
    assert {name: libraries()[name] for name in both} == {name: pinned[name] for name in both}
