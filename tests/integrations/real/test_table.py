"""docs/reference/faults.md is what a new run finds, but for the seconds: else `make table`."""

from __future__ import annotations

import pytest

from tests.integrations.table import (
    CANCELLED,
    CLOSED,
    FAULTS,
    PAGE,
    clients,
    measured,
    page_with,
    text_of,
    without_seconds,
)

# What the packages warn of, or leave unclosed, is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_page_is_what_a_new_run_finds() -> None:
    """And each fault is what it is meant to be: none of them is a call that was not made."""
    results = measured()
    for cells in results.values():
        assert {each: cell.requests for each, cell in cells.items() if not cell.requests} == {
            "refused": 0,
            CLOSED: 0,
        }
        assert cells[CANCELLED].counted == "nothing"
        assert cells["hang"].counted == "failure"
    assert {name for name, _ in results} == {client.name for client in clients()}
    assert all(list(cells) == list(FAULTS) for cells in results.values())
    page = PAGE.read_text(encoding="utf-8")
    assert without_seconds(page) == without_seconds(page_with(text_of(results)))
