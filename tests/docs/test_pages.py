"""Pages are short, nothing in them is overlooked, and what they point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.documents import (
    BLOCK,
    CHANGELOG,
    DOCUMENTS,
    INDEX,
    README,
    ROOT,
    links_of,
    name_of,
    sections_of,
)

LONGEST = 300
"""Lines of a page; a longer one has more than one purpose."""

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


@each_document
def test_a_page_is_short(document: Path) -> None:
    """Nobody has to look for something in a page of more than 300 lines."""
    assert document.read_text(encoding="utf-8").count("\n") <= LONGEST


@each_document
def test_no_block_is_overlooked(document: Path) -> None:
    """Every fence belongs to a block whose language is named, so that each program is found."""
    text = document.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(BLOCK.findall(text))
    assert "py" not in [language for language, _ in BLOCK.findall(text)]  # it is "python" here


@pytest.mark.parametrize("document", [*DOCUMENTS, CHANGELOG], ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    """Every linked file and picture exists, and so does every linked section."""
    broken = [
        target
        for target, linked, section in links_of(document)
        if not linked.exists() or (section and section not in sections_of(linked))
    ]
    assert broken == []


@each_document
def test_files_that_are_named_exist(document: Path) -> None:
    """A path in a document is the path of a file."""
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:supervisor|tests|docs|benchmarks)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_index_leads_to_every_page() -> None:
    """Whoever opens docs/CIRCUIT_BREAKER.md finds all other pages from there."""
    linked = {path for _, path, _ in links_of(INDEX)}
    assert set(DOCUMENTS) - {README, INDEX} - linked == set()
