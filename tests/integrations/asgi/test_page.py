"""The page for people, as a server sends it; tests/integrations/real has it in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from supervisor.integrations.asgi import CircuitsApp
from tests.integrations.asgi.driver import Client, Exchange, serving

pytestmark = pytest.mark.anyio

HTML = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")

FILES = {
    "page.css": "text/css; charset=utf-8",
    "table.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "table.js": "text/javascript; charset=utf-8",
    "feed.js": "text/javascript; charset=utf-8",
    "page.svg": "image/svg+xml",
}


class Links(HTMLParser):
    """What a page refers to, and whether anything in it is inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        self.found.extend(values[name] for name in ("href", "src") if name in values)
        self.inline.extend(name for name in values if name.startswith("on") or name == "style")
        if tag == "style" or (tag == "script" and "src" not in values):
            self.inline.append(tag)


async def page(client: Client, path: str, **options: Any) -> Exchange:
    """The page, as a browser asks for it."""
    return await client.ask(path, headers=[HTML], **options)


async def test_a_browser_gets_the_page_and_all_others_get_json() -> None:
    """By what they accept: a browser names HTML, and JSON not before it."""
    async with serving(CircuitsApp()) as client:
        for accept, is_html in [
            (HTML[1], True),
            ("text/html", True),
            ("TEXT/HTML ; q=0.5, */*", True),
            ("text/html, application/json", True),
            ("text/html;q=0.5, application/json", False),
            ("text/html;q=0", False),
            ("text/html;q=high", False),
            ("text/html;level=1;q=0.1, application/json;q=0.2", False),
            ("*/*", False),
            ("application/json", False),
            ("text/*", False),
            ("", False),
        ]:
            shown = await client.ask("/", headers=[("accept", accept)])
            kind = "text/html; charset=utf-8" if is_html else "application/json"
            assert shown.headers["content-type"] == kind, accept
            assert shown.headers["vary"] == "accept"
        assert (await client.ask("/")).headers["content-type"] == "application/json"


async def test_nothing_of_it_may_come_from_elsewhere_or_be_inline() -> None:
    """Its policy says so to the browser, and it keeps to that."""
    async with serving(CircuitsApp()) as client:
        shown = await page(client, "/")
        assert shown.status == 200
        assert shown.headers["cache-control"] == "no-store"
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert shown.headers["referrer-policy"] == "no-referrer"
        policy = shown.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        links = Links(shown.text)
        assert not links.inline
        assert all(re.fullmatch(r"\./page/[a-z]+\.(css|js|svg)", link) for link in links.found)
        assert len(links.found) == 4
        head = await page(client, "/", method="HEAD")
        assert (head.body, head.headers) == (b"", shown.headers)


@pytest.mark.parametrize(
    ("sent", "base"),
    [
        ("/circuits/", "./"),
        ("/circuits", "./circuits/"),
        ("/", "./"),
        ("/api/v1%20/circuits?a=/b", "./circuits/"),
        ("/a%22b", "./a%22b/"),
        ("/a\"b<'", "./a&quot;b&lt;&#x27;/"),
        ("/javascript:alert(1)", "./javascript:alert(1)/"),
    ],
)
async def test_its_links_lead_to_where_it_is_mounted(sent: str, base: str) -> None:
    """By the path as it was sent, since only the browser knows what is before that."""
    async with serving(CircuitsApp()) as client:
        shown = await page(client, "", raw_path=sent.encode())
        assert f'src="{base}page/page.js"' in shown.text
        assert f'href="{base}page/page.css"' in shown.text


async def test_its_links_without_a_path_as_it_was_sent() -> None:
    """That is optional in ASGI."""
    async with serving(CircuitsApp()) as client:
        shown = await page(client, "/ü b", root_path="/ü b", raw_path=None)
        assert 'src="./%C3%BC%20b/page/page.js"' in shown.text


@pytest.mark.parametrize(("name", "kind"), FILES.items(), ids=FILES)
async def test_its_files(name: str, kind: str) -> None:
    """They are asked for anew each time, and sent if they are others than before."""
    async with serving(CircuitsApp()) as client:
        for path in (f"/page/{name}", f"/page/{name}/"):
            shown = await client.ask(path)
            assert shown.headers["content-type"] == kind
            assert shown.headers["cache-control"] == "no-cache"
            assert len(shown.body) == int(shown.headers["content-length"]) > 100
        tag = shown.headers["etag"]
        for sent in (tag, f'W/{tag}, "other"'):
            again = await client.ask(f"/page/{name}", headers=[("if-none-match", sent)])
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        other = await client.ask(f"/page/{name}", headers=[("if-none-match", '"other"')])
        assert other.body == shown.body


async def test_no_other_file_is_sent() -> None:
    """Such a path is that of a circuit, if there is one."""
    async with serving(CircuitsApp()) as client:
        for path in ("/page/__init__.py", "/page/../circuits.py", "/page/page.html", "/page.js"):
            assert (await client.ask(path)).status == 404
        client.supervisor.circuit("page/search")
        shown = await client.ask("/page/search")
        assert shown.json["circuit"]["name"] == "page/search"
