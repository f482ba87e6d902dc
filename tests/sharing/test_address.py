"""Where a store is, as a URL says it."""

from __future__ import annotations

import pytest

from supervisor.sharing.address import Address, read_address

READ = [
    ("redis://host", Address("server", (("host", 6379),), False, None, None, "", 0)),
    ("redis://host/", Address("server", (("host", 6379),), False, None, None, "", 0)),
    ("rediss://[::1]:7/2", Address("server", (("::1", 7),), True, None, None, "", 2)),
    ("redis://u%40:p%3A%2F@h", Address("server", (("h", 6379),), False, "u@", "p:/", "", 0)),
    ("redis://:p@h", Address("server", (("h", 6379),), False, None, "p", "", 0)),
    (
        "redis+sentinel://a,b:1/main",
        Address("sentinel", (("a", 26379), ("b", 1)), False, None, None, "main", 0),
    ),
    (
        "rediss+cluster://a,b",
        Address("cluster", (("a", 6379), ("b", 6379)), True, None, None, "", 0),
    ),
    ("unix://u:p@/run/a%20b", Address("unix", (), False, "u", "p", "/run/a b", 0)),
]


@pytest.mark.parametrize(("url", "address"), READ)
def test_read(url: str, address: Address) -> None:
    assert read_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://secret@host",
        "redis://",
        "redis://a,b",
        "redis://host:port",
        "redis://host:0",
        "redis://host:65536",
        "redis://host:\u0661",
        "redis://ho st",
        "redis://[: :1]",
        "redis://host/1234567890",
        "redis://host/\u0661",
        "redis://host/secret",
        "redis://host/0?password=secret",
        "redis+sentinel://host",
        "redis+sentinel://host/main\n",
        "redis+cluster://host/0",
        "unix://",
        "unix://host/path",
        "redis://u:se/cret@host",
    ],
)
def test_what_is_no_url_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="url must be of the form") as caught:
        read_address(url)
    assert "secret" not in str(caught.value)


def test_a_url_is_a_string() -> None:
    with pytest.raises(TypeError, match="url must be a string, got bytes"):
        read_address(b"redis://secret")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@h", "redis://h:6379/0"),
        ("rediss+sentinel://u:secret@a,b/main", "rediss+sentinel://a:26379,b:26379/main"),
        ("unix://u:secret@/run/s", "unix:///run/s"),
    ],
)
def test_it_is_shown_without_the_password(url: str, shown: str) -> None:
    address = read_address(url)
    assert str(address) == shown
    assert "secret" not in repr(address)
