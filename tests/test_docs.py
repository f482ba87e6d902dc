"""The documents: every example runs and prints what it says, tables and links are right.

How README.md and docs/*.md are written, so that this can be checked:

- Each ```python block is a program of its own. It may `await` at the top level; a program that
  calls `anyio.run` itself runs as it is.
- A ```text block shows exactly what the ```python block before it prints. A program without
  one prints nothing.
- A ```dotenv block is the `.env` file of the ```python block that follows it, and a ```toml block
  the file `circuits.toml`.
"""

from __future__ import annotations

import ast
import gc
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import anyio
import pytest
from loguru import logger

import supervisor
from supervisor.notation import written

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "CIRCUIT_BREAKER.md"
POLICIES = ROOT / "docs" / "POLICIES.md"
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"^\| `([a-z_]+)` \|", re.MULTILINE)
FIELD = re.compile(r"^\| `([a-z_]+)` \| `([^`]+)` \|", re.MULTILINE)
SETTING = re.compile(r"^\| `(BINDU_[A-Z_]+)` \| `([^`]+)` \|", re.MULTILINE)


@dataclass
class Example:
    """One program in a document."""

    document: Path
    line: int
    source: str
    prints: str = ""
    dotenv: str = ""
    toml: str = ""

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def examples_of(document: Path) -> list[Example]:
    """Return the document's programs, each with the blocks that belong to it."""
    text = document.read_text()
    examples: list[Example] = []
    before, dotenv, toml = "", "", ""
    for block in BLOCK.finditer(text):
        language, content = block.groups()
        match language:
            case "python":
                line = text.count("\n", 0, block.start(2)) + 1
                examples.append(Example(document, line, content, dotenv=dotenv, toml=toml))
                dotenv, toml = "", ""
            case "text":
                assert before == "python", f"{document.name}: no program prints this:\n{content}"
                examples[-1].prints = content
            case "dotenv":
                dotenv = content
            case "toml":
                toml = content
            case _:
                pass
        before = language
    assert not dotenv, f"{document.name}: no program reads this .env file:\n{dotenv}"
    assert not toml, f"{document.name}: no program reads this TOML file:\n{toml}"
    return examples


EXAMPLES = [example for document in DOCUMENTS for example in examples_of(document)]


@pytest.fixture
def fresh_logger() -> Iterator[None]:
    """Give an example loguru as an application finds it, and take its sinks away afterwards."""
    yield
    logger.disable("supervisor")
    logger.configure(extra={})
    logger.remove()
    logger.add(sys.stderr)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_runs_and_prints_what_is_said(
    example: Example,
    anyio_backend: tuple[str, dict[str, Any]],
    fresh_logger: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No example raises, warns, leaves anything behind, or prints anything but what is shown."""
    Path(".env").write_text(example.dotenv)
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
    gc.collect()  # what was never awaited or settled warns now, and pytest makes that an error
    assert capsys.readouterr() == (example.prints, "")
    assert caplog.text == ""  # asyncio reports lost tasks and errors there


@pytest.mark.parametrize("document", [README, GUIDE, POLICIES], ids=lambda document: document.name)
def test_a_document_has_examples(document: Path) -> None:
    """The documents that teach by examples have some."""
    assert examples_of(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_no_block_is_overlooked(document: Path) -> None:
    """Every fence belongs to a block whose language is named, so that each program is found."""
    text = document.read_text()
    assert text.count("```") == 2 * len(BLOCK.findall(text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every linked file and picture exists, and so does every linked section."""
    for target in LINK.findall(BLOCK.sub("", document.read_text())):
        path, _, section = target.partition("#")
        linked = (document.parent / path) if path else document
        assert linked.exists(), target
        if section:
            assert section in sections_of(linked), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_files_that_are_named_exist(document: Path) -> None:
    """A path in a document is the path of a file."""
    for path in re.findall(r"`((?:supervisor|tests|docs)/[\w./]+)`", document.read_text()):
        assert (ROOT / path).exists(), path


def test_the_tables_of_settings_are_complete() -> None:
    """The guide lists every variable, with the default that it has."""
    expected = {
        group.prefix + name.upper(): written(field.default)
        for group in (supervisor.CircuitBreakerSettings, supervisor.RetrySettings)
        for name, field in group.model_fields.items()
        if name != "circuits"  # not one variable, but one per circuit and field
    }
    assert dict(SETTING.findall(GUIDE.read_text())) == expected


def test_the_tables_of_policies_are_complete() -> None:
    """Every field of a policy stands in one table, with the default that it has."""
    defaults = {field.name: field.default for field in fields(supervisor.Policy)}
    expected = {
        name: default.__name__ if isinstance(default, type) else repr(default)
        for name, default in defaults.items()
    }
    tables = [row for row in FIELD.findall(POLICIES.read_text()) if row[0] in expected]
    assert sorted(tables) == sorted(expected.items())


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs" / "policies").glob("*.toml")), ids=lambda file: file.name
)
def test_a_policy_is_shown_with_the_command_that_draws_it(file: Path) -> None:
    """Each policy that is drawn has its picture in the document, and its command as in the file."""
    text = POLICIES.read_text()
    command = file.read_text().splitlines()[0].removeprefix("# ")
    _, _, picture = command.rpartition(" docs/")
    assert f"\n{command}\n" in text
    assert f"]({picture})" in text


def test_every_public_name_is_explained() -> None:
    """The guide mentions everything that can be imported from the package."""
    text = GUIDE.read_text()
    assert [name for name in supervisor.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_parts_depend_on_each_other_one_way() -> None:
    """The table of parts lists all modules, each below those that it imports."""
    modules = MODULE.findall(ARCHITECTURE.read_text())
    package = ROOT / "supervisor"
    assert {path.stem for path in package.glob("[a-z]*.py")} <= set(modules)
    for index, module in enumerate(modules):
        path = package / module
        files = list(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        for file in files:
            imported = imports_of(file) & set(modules)  # or public names, which are above all
            assert imported <= {*modules[:index], module}, file.name


def imports_of(file: Path) -> set[str]:
    """Return the modules of the package that `file` imports, wherever in it."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ImportFrom(module="supervisor", names=names):
                imported.update(name.name for name in names)
            case ast.ImportFrom(module=str(module)) if module.startswith("supervisor."):
                imported.add(module.split(".")[1])
            case _:
                pass
    return imported


def sections_of(document: Path) -> set[str]:
    """Return the names by which a document's headings can be linked to."""
    headings = HEADING.findall(BLOCK.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
