"""The cells of docs/how-to/notebooks.md, each of them run by IPython as a notebook does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docs.documents import BLOCK, DOCS, examples_of

interactiveshell: Any = pytest.importorskip("IPython.core.interactiveshell")

PAGE: Final = DOCS / "how-to" / "notebooks.md"
SHOWN: Final = re.compile(r"^# (\w+Error): (.*)$", re.MULTILINE)

# Shells leave a history and an event loop to the end of the process: theirs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = interactiveshell.InteractiveShell()
    shell.history_manager.enabled = False
    yield shell
    shell.run_cell("import supervisor\nsupervisor.clear_circuit_breaker_registry()")


def cells_of(source: str) -> list[str]:
    _, *cells = re.split(r"^# %%\n", source, flags=re.MULTILINE)
    return cells


def run(shell: Any, cell: str) -> BaseException | None:
    """Run a cell, and return what it has raised."""
    result = shell.run_cell(cell, store_history=False)
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    return error


@pytest.mark.parametrize(
    "example", [pytest.param(each, id=str(each.line)) for each in examples_of(PAGE)]
)
def test_cells_that_go_on(shell: Any, example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What one cell has made, and what its circuit has counted, is there in the next."""
    cells = cells_of(example.source)
    assert len(cells) > 1
    for cell in cells:
        assert run(shell, cell) is None
    assert capsys.readouterr().out == example.prints


FAILING: Final = [
    source
    for language, source in BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    if language == "ipython"
]


@pytest.mark.parametrize("source", FAILING, ids=["breaker", "supervisor"])
def test_a_block_over_two_cells(shell: Any, source: str) -> None:
    """Is an error that says what to do: the very one that the page shows."""
    *before, last = cells_of(source)
    for cell in before:
        assert run(shell, cell) is None
    error = run(shell, last)
    assert [(type(error).__name__, str(error))] == SHOWN.findall(last)


def test_a_call_after_such_an_error(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Is guarded as any other, and joins the default supervisor again."""
    source = FAILING[-1]
    for cell in cells_of(source):
        run(shell, cell)
    capsys.readouterr()
    cell = ["import anyio", "from supervisor import CircuitBreaker"]
    cell.append("print(await CircuitBreaker('x').call(anyio.sleep, 0))")
    assert run(shell, "\n".join(cell)) is None
    assert capsys.readouterr().out == "None\n"
