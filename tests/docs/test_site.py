"""The check of a built site finds what is broken, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.documents import DOCS, DOCUMENTS, README, ROOT
from tests.docs.site import main, problems_of

GOOD = """<html><head><link rel="stylesheet" href="style.css"></head><body id="top">
<a href="more/">more</a> <a href="more/index.html#there">there</a> <a href="#top">up</a>
<a href="https://example.org/">elsewhere</a> <img src="data:image/png;base64,AAAA"></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages without a fault."""
    (tmp_path / "more").mkdir()
    (tmp_path / "style.css").write_text("")
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "more" / "index.html").write_text('<h2 id="there"><a href="../">back</a></h2>')
    return tmp_path


def test_a_good_site(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, folders, sections and links to elsewhere are fine."""
    assert main([str(site)]) == 0
    assert capsys.readouterr().out == "2 pages, 0 problems\n"


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        ('<a href="gone.html">x</a>', "index.html: no file gone.html"),
        ('<a href="more/#gone">x</a>', "index.html: no section more/#gone"),
        ('<a href="#gone">x</a>', "index.html: no section #gone"),
        ('<img src="gone.svg">', "index.html: no file gone.svg"),
        (
            '<script src="https://example.org/x.js"></script>',
            "index.html: loads https://example.org/x.js",
        ),
    ],
)
def test_a_fault_is_found(site: Path, element: str, problem: str) -> None:
    """A broken link, a missing section or file, and what is loaded from elsewhere."""
    (site / "index.html").write_text(GOOD.replace("</body>", f"{element}</body>"))
    assert problems_of(site) == [problem]


def test_no_site(tmp_path: Path) -> None:
    """A folder without a page is no site."""
    assert problems_of(tmp_path) == [f"{tmp_path}: no pages"]


def test_every_page_is_in_the_navigation() -> None:
    """The site's navigation names each page once."""
    lines = (ROOT / ".mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2].splitlines()
    named = [line.replace("- ", ": ").rpartition(": ")[2] for line in lines if ".md" in line]
    pages = [page.relative_to(DOCS).as_posix() for page in DOCUMENTS if page != README]
    assert sorted(set(named) - {"changelog.md", "benchmarks-full-run.md"}) == sorted(pages)
    assert len(named) == len(set(named))
