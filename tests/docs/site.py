"""Look at a built site as a browser would: `python -m tests.docs.site site`.

What the pages are made from is checked by tests already. This finds what goes wrong on the way to
HTML: names of sections that the site spells in another way, files that were not copied, and what
a page would load from somewhere else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADED: Final = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
"""Elements by which a page loads something, and the attribute that says what."""

HARMLESS: Final = {"canonical", "next", "prev"}
"""Kinds of <link> that load nothing."""


@dataclass
class Page(HTMLParser):
    """What one page has, leads to, and loads."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        has = {name: value or "" for name, value in attrs}
        self.ids.update(has[name] for name in ("id", "name") if name in has)
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        elif LOADED.get(tag) in has and has.get("rel") not in HARMLESS:
            self.loads.append(has[LOADED[tag]])


def problems_of(site: Path) -> list[str]:
    """Return what is wrong with the site, a line each."""
    pages: dict[Path, Page] = {}
    for file in sorted(site.rglob("*.html")):
        pages[file.resolve()] = page = Page()
        page.feed(file.read_text(encoding="utf-8"))
    found: list[str] = []
    for file, page in pages.items():
        name = file.relative_to(site.resolve()).as_posix()
        for link in page.links + page.loads:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                if link in page.loads and url.scheme != "data":
                    found.append(f"{name}: loads {link}")
                continue
            linked = _file(site.resolve(), file, unquote(url.path))
            if not linked.is_file():
                found.append(f"{name}: no file {link}")
            elif url.fragment and linked in pages:
                section = unquote(url.fragment)
                if section not in pages[linked].ids and not section.startswith("__"):
                    found.append(f"{name}: no section {link}")
    if not pages:
        found.append(f"{site}: no pages")
    return found


def _file(site: Path, page: Path, path: str) -> Path:
    if not path:
        return page
    linked = site / path.lstrip("/") if path.startswith("/") else page.parent / path
    return (linked / "index.html" if linked.is_dir() else linked).resolve()


def main(argv: list[str]) -> int:
    """Print what is wrong, and return the exit status."""
    site = Path(argv[0] if argv else "site")
    found = problems_of(site)
    print(*found, sep="\n", end="\n" if found else "")
    pages = sum(1 for _ in site.rglob("*.html"))
    print(f"{pages} pages, {len(found)} problems")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
