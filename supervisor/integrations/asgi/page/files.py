"""What a browser is sent, and by which rules it may run."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from supervisor.integrations.asgi.protocol import Scope, header_of
from supervisor.integrations.asgi.replies import STRICT, Reply

_KINDS: Final[Mapping[str, str]] = {
    "page.css": "text/css; charset=utf-8",
    "table.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "table.js": "text/javascript; charset=utf-8",
    "feed.js": "text/javascript; charset=utf-8",
    "page.svg": "image/svg+xml",
}

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing inline and nothing from elsewhere; and no text, such as a name, ever becomes markup."""


def prefers_page(scope: Scope) -> bool:
    """Return whether a client asks for HTML by name, as browsers do, rather than for JSON."""
    accepted = dict(_accepted(header_of(scope, b"accept") or ""))
    html = accepted.get("text/html", 0.0)
    return 0.0 < html >= accepted.get("application/json", 0.0)


def page_of(scope: Scope, has_buttons: bool) -> Reply:
    """Return the page, which finds its files and figures wherever it is mounted."""
    text = _bytes_of("page.html").decode()
    text = text.replace("{base}", escape(f"./{_last_part(scope)}"))
    text = text.replace("{buttons}", "yes" if has_buttons else "no")
    body = text.encode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(body)),
        **STRICT,
        "content-security-policy": _POLICY,
        "referrer-policy": "no-referrer",
        "vary": "accept",
    }
    return Reply(200, headers, body)


def file_of(paths: Iterable[str], scope: Scope) -> Reply | None:
    """Return one of the page's files, or that the browser has it already; None: it is none."""
    names = (path.removeprefix("page/") for path in paths if path.startswith("page/"))
    name = next((name for name in names if name in _KINDS), None)
    if name is None:
        return None
    body = _bytes_of(name)
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    # To be asked for each time: after an update, none of them is to go with another's older one.
    headers = {**STRICT, "cache-control": "no-cache", "etag": tag}
    if tag in (header_of(scope, b"if-none-match") or ""):
        return Reply(304, headers, b"")
    headers |= {"content-type": _KINDS[name], "content-length": str(len(body))}
    return Reply(200, headers, body)


@functools.cache
def _bytes_of(name: str) -> bytes:
    return files(__name__.rpartition(".")[0]).joinpath(name).read_bytes()


def _last_part(scope: Scope) -> str:
    """Return what the browser's relative URLs have to begin with: nothing after a slash."""
    sent: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    last = sent.partition(b"?")[0].rpartition(b"/")[2].decode("latin-1")
    return f"{last}/" if last else ""


def _accepted(header: str) -> Iterator[tuple[str, float]]:
    """Yield the media types of a header `Accept`, and how welcome each of them is."""
    for each in header.split(","):
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        values = (value for name, _, value in (p.partition("=") for p in parameters) if name == "q")
        try:
            yield kind, float(next(values, "1"))
        except ValueError:
            yield kind, 0.0
