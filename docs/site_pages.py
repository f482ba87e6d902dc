"""Pages of the site that stand outside docs/ in the repository, and links to and from them.

In the repository a link leads to where a file stands. On the site everything stands in one tree.
MkDocs calls the functions of this file while it builds the site; see `hooks` in .mkdocs.yml.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
LINK: Final = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")

OUTSIDE: Final = {
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
    "benchmarks/results/full-run.md": "benchmarks-full-run.md",
}
"""Where files of the repository stand on the site; the README's place has the start page."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside."""
    for path, place in OUTSIDE.items():
        if place not in files.src_uris:
            files.append(File.generated(config, place, abs_src_path=os.fspath(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links to and from the pages from outside lead to where they stand on the site."""
    place = page.file.src_uri
    origin = f"docs/{place}"
    if not (ROOT / origin).exists():
        origin = next(path for path, other in OUTSIDE.items() if other == place)

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link[1]))
        if path not in OUTSIDE and origin not in OUTSIDE:
            return link[0]
        there = OUTSIDE.get(path, path.removeprefix("docs/"))
        return f"]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{link[2] or ''})"

    return LINK.sub(moved, markdown)
