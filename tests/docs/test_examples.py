"""Every program in the documents runs, and prints what stands below it."""

from __future__ import annotations

import ast
import inspect
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from loguru import logger

from supervisor.circuit.witnesses import WITNESSES
from supervisor.settings import unset
from tests.docs.documents import DOCS, DOCUMENTS, README, Example, examples_of, name_of
from tests.support.observed import counted_anew
from tests.support.worlds import collect_garbage

EXAMPLES = [
    example for document in DOCUMENTS for example in examples_of(document) if not example.needs_more
]
"""Those that need no package but those of every day; see `tests/integrations/real`."""

TEACHING = [README, DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
"""What shows how something is done, and not only says so."""


@pytest.fixture
def fresh_logger() -> Iterator[None]:
    """Give an example loguru and `logging` as an application finds them, and take its sinks and
    handlers away afterwards.
    """
    standard = logging.getLogger("supervisor")
    handlers = list(standard.handlers)
    yield
    standard.handlers[:] = handlers
    standard.setLevel(logging.NOTSET)
    logger.disable("supervisor")
    logger.configure(extra={})
    logger.remove()
    logger.add(sys.stderr)


@pytest.fixture
def fresh_figures() -> Iterator[None]:
    """Let nothing have been counted before it: a process tells only so many names apart. And
    nobody is told of calls after it.
    """
    with counted_anew():
        yield
    WITNESSES.clear()


def run_example(
    example: Example, anyio_backend: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a program as its reader would, but on this event loop."""
    Path(".env").write_text(example.dotenv)
    monkeypatch.setattr(unset, "_HAS_DOTENV", True)  # as if the program started only now
    Path("circuits.toml").write_text(example.toml)
    program = compile(
        "\n" * (example.line - 1) + example.source,
        str(example.document),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    names: dict[str, Any] = {"__name__": "__main__"}
    run = anyio.run

    def run_here(func: Any, *args: Any, **options: Any) -> Any:
        name, backend_options = anyio_backend
        return run(
            func, *args, **(options or {"backend": name, "backend_options": backend_options})
        )

    async def awaiting() -> None:
        await eval(program, names)

    if program.co_flags & inspect.CO_COROUTINE:
        run_here(awaiting)
    else:
        monkeypatch.setattr(anyio, "run", run_here)
        exec(program, names)
    names.clear()
    collect_garbage()  # what was never awaited or settled warns now, and pytest makes that an error


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_runs_and_prints_what_is_said(
    example: Example,
    anyio_backend: tuple[str, dict[str, Any]],
    fresh_logger: None,
    fresh_figures: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No example raises, warns, leaves anything behind, or prints anything but what is shown."""
    run_example(example, anyio_backend, monkeypatch)
    assert capsys.readouterr() == (example.prints, "")
    others = [record for record in caplog.records if record.name != "supervisor"]
    assert others == []  # asyncio reports lost tasks and errors there


@pytest.mark.parametrize("document", TEACHING, ids=name_of)
def test_a_document_has_examples(document: Path) -> None:
    """The documents that teach by examples have some."""
    assert examples_of(document)
