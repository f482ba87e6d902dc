"""Where a store is, as a URL says it. The password is shown nowhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote

Kind = Literal["server", "sentinel", "cluster", "unix"]

FORMS: Final = (
    "redis://[user:password@]host[:port][/database], redis+sentinel://host[:port],.../service,"
    " redis+cluster://host[:port],... or unix://[user:password@]/path; rediss for TLS"
)
_URL: Final = re.compile(
    r"(?P<scheme>rediss?(\+sentinel|\+cluster)?|unix)://((?P<login>[^/]*)@)?(?P<hosts>[^/@?#]*)(?P<path>/[^?#]*)?"
)
_HOST: Final = re.compile(r"(?P<host>[^:\[\]\s]+|\[[^\[\]\s]+\])(:(?P<port>[0-9]{1,5}))?")
_PORTS: Final = {"server": 6379, "cluster": 6379, "sentinel": 26379}
_LARGEST_PORT: Final = 65535
_DATABASE: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is, and who wants in.

    Attributes:
        service: the name that the sentinels know the primary by; or the path of a socket.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    tls: bool
    user: str | None
    password: str | None = field(repr=False)
    service: str
    database: int

    def __str__(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        match self.kind:
            case "unix":
                return f"unix://{self.service}"
            case "server":
                return f"{scheme}://{hosts}/{self.database}"
            case _:
                return f"{scheme}+{self.kind}://{hosts}/{self.service}"


def read_address(url: object) -> Address:
    """Return where a URL points to.

    Raises:
        TypeError, ValueError: it is no such URL; what it is, is not said, since it may hold a
            password.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, got {type(url).__name__}")
    address = _read(url)
    if address is None:
        raise ValueError(f"url must be of the form {FORMS}; its text is not shown")
    return address


def _read(url: str) -> Address | None:
    parts = _URL.fullmatch(url)
    if parts is None or not url.isprintable():  # as with the end of a line, from a file
        return None
    scheme, _, kind_of = parts["scheme"].partition("+")
    kind: Kind = "unix" if scheme == "unix" else kind_of or "server"  # type: ignore[assignment]
    user, _, password = (parts["login"] or "").partition(":")
    path = unquote(parts["path"] or "")
    hosts = _hosts(parts["hosts"], kind)
    database, service = _inside(path, kind)
    if hosts is None or database is None:
        return None
    return Address(
        kind,
        hosts,
        scheme == "rediss",
        unquote(user) or None,
        unquote(password) or None,
        service,
        database,
    )


def _hosts(text: str, kind: Kind) -> tuple[tuple[str, int], ...] | None:
    if kind == "unix":
        return None if text else ()
    hosts: list[tuple[str, int]] = []
    for each in text.split(","):
        host = _HOST.fullmatch(each)
        if host is None:
            return None
        port = int(host["port"] or _PORTS[kind])
        if not 1 <= port <= _LARGEST_PORT:
            return None
        hosts.append((host["host"].strip("[]"), port))
    return tuple(hosts) if kind != "server" or len(hosts) == 1 else None


def _inside(path: str, kind: Kind) -> tuple[int | None, str]:
    """Return the database, None if there can be no such, and the service or path."""
    inner = path.removeprefix("/")
    if kind == "unix":
        return (0 if inner else None), path
    if kind == "sentinel":
        return (0 if inner else None), inner
    if inner == "":
        return 0, ""
    is_database = kind == "server" and _DATABASE.fullmatch(inner)
    return (int(inner) if is_database else None), ""
