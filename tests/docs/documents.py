"""What the documents consist of: programs, links, sections, rows of tables.

How README.md and docs/**/*.md are written, so that they can be checked:

- Each ```python block is a program of its own. It may `await` at the top level; a program that
  calls `anyio.run` itself runs as it is.
- A ```text block shows exactly what the ```python block before it prints. A program without
  one prints nothing.
- A ```dotenv block is the `.env` file of the ```python block that follows it, and a ```toml block
  the file `circuits.toml`.
- Blocks of other languages are only looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
README: Final = ROOT / "README.md"
INDEX: Final = DOCS / "CIRCUIT_BREAKER.md"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
DOCUMENTS: Final = [README, *sorted(DOCS.rglob("*.md"))]

BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
ROW: Final = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
OF_DATABASES: Final = re.compile(
    r"^(?:from|import) (asyncpg|coredis|psycopg\w*|redis|sqlalchemy)\b|\bRedisSharing\(",
    re.MULTILINE,
)
OF_INTEGRATIONS: Final = re.compile(
    r"^(?:from|import) (aiohttp|fastapi|grpc|langchain\w*|litestar|mcp|openai|pydantic_ai"
    r"|sentry_sdk|structlog)\b",
    re.MULTILINE,
)


OF_JOBS: Final = re.compile(r"^(?:from|import) (arq|streaq|taskiq)\b", re.MULTILINE)


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
        return f"{name_of(self.document)}:{self.line}"

    @property
    def needs_more(self) -> bool:
        """Whether it imports what is only there for tests with real clients."""
        more = (OF_INTEGRATIONS, OF_DATABASES, OF_JOBS)
        return any(each.search(self.source) for each in more)

    @property
    def is_job(self) -> bool:
        """Whether it needs the environment of queues."""
        return OF_JOBS.search(self.source) is not None

    @property
    def asks_database(self) -> bool:
        """Whether it uses a client that has clocks and sockets of its own."""
        return OF_DATABASES.search(self.source) is not None


def name_of(document: Path) -> str:
    """Return the path by which a test names a document."""
    return document.relative_to(ROOT).as_posix()


def examples_of(document: Path) -> list[Example]:
    """Return the document's programs, each with the blocks that belong to it."""
    text = document.read_text(encoding="utf-8")
    name = name_of(document)
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
                assert before == "python", f"{name}: no program prints this:\n{content}"
                examples[-1].prints = content
            case "dotenv":
                dotenv = content
            case "toml":
                toml = content
            case _:
                pass
        before = language
    assert not dotenv, f"{name}: no program reads this .env file:\n{dotenv}"
    assert not toml, f"{name}: no program reads this TOML file:\n{toml}"
    return examples


def prose_of(document: Path) -> str:
    """Return the document without its blocks."""
    return BLOCK.sub("", document.read_text(encoding="utf-8"))


def links_of(document: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield each link that stays in the repository: as written, the file, and the section."""
    for target in LINK.findall(prose_of(document)):
        path, _, section = target.partition("#")
        if "://" not in target:
            yield target, (document.parent / path).resolve() if path else document, section


def sections_of(document: Path) -> set[str]:
    """Return the names by which a document's headings can be linked to."""
    headings = HEADING.findall(prose_of(document))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_of(document: Path) -> list[tuple[str, str]]:
    """Return the first two cells of each row of a table in which both are code."""
    return ROW.findall(prose_of(document))
