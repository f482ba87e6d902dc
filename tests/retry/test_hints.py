"""How long a server asks to wait, wherever a client's error has it; what is none is no hint."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.retry.hints import hint_of, says_when, status_of
from tests.support.clients import Circular, nested, shared, stand_in


def busy(**attributes: Any) -> BaseException:
    return stand_in("shop", "Busy", **attributes)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative numbers are written as if they had no sign
    low = bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
    return low + (varint(number >> 7) if number > 0x7F else b"")


def packed(number: int, value: bytes | int) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def status(seconds: int, nanos: int = 0, kind: str = "RetryInfo") -> bytes:
    """A `google.rpc.Status` with one detail."""
    delay = packed(1, seconds) + packed(2, nanos)
    detail = packed(1, f"type.googleapis.com/google.rpc.{kind}".encode()) + packed(
        2, packed(1, delay)
    )
    return packed(1, 14) + packed(2, b"busy" * 50) + packed(3, detail)


def by_grpc(details: object, name: str = "grpc-status-details-bin") -> BaseException:
    return busy(trailing_metadata=lambda: (("other", "x"), (name, details)))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"RETRY-AFTER": 7}, 7),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7", "Retry-After-Ms": "6500"}, 6.5),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"other": "7"}, None),
        ({}, None),
        (None, None),
        ("7", None),
    ],
)
def test_headers(headers: Any, seconds: float | None) -> None:
    """Seconds or milliseconds, of the error, of its response, or of botocore's."""
    assert hint_of(busy(headers=headers)) == seconds
    assert hint_of(busy(response=SimpleNamespace(headers=headers))) == seconds
    assert hint_of(busy(response={"ResponseMetadata": {"HTTPHeaders": headers}})) == seconds


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, True),
        ({"Retry-After": "0"}, True),
        ({"Retry-After": 0}, True),
        ({"Retry-After": "0.0"}, True),
        ({"retry-after-ms": "0"}, True),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, True),
        ({"Retry-After": "-3"}, False),
        ({"Retry-After": "nan"}, False),
        ({"Retry-After": "inf"}, False),
        ({"Retry-After": "soon"}, False),
        ({"Retry-After": "Wed, 99 Oct 2015 07:28:00 GMT"}, False),
        ({}, False),
        ("7", False),
    ],
    ids=str,
)
def test_whether_it_says_when(headers: Any, expected: bool) -> None:
    """At once is a time, too, though it is none to wait for."""
    assert says_when(busy(headers=headers)) is expected
    assert says_when(busy(response=SimpleNamespace(headers=headers))) is expected


@pytest.mark.parametrize("usegmt", [True, False])
def test_dates(usegmt: bool) -> None:
    """Until then, by this machine's clock."""
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=usegmt)
    assert hint_of(busy(headers={"Retry-After": then})) == pytest.approx(60, abs=5)
    unzoned = then.removesuffix("GMT").removesuffix("+0000") + "-0000"
    assert hint_of(busy(headers={"Retry-After": unzoned})) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (7, 7),
        (0.5, 0.5),
        ("7", 7),
        (0, None),
        (-1, None),
        (True, None),
        ([], None),
        (10**400, None),
    ],
    ids=str,
)
def test_an_attribute(value: object, seconds: float | None) -> None:
    """Libraries that have read the header keep it as `retry_after`."""
    assert hint_of(busy(retry_after=value)) == seconds
    assert says_when(busy(retry_after=value)) is (seconds is not None)  # 0 may stand for nothing


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        (status(5), 5),
        (status(300, 500_000_000), 300.5),
        (status(0, 250_000_000), 0.25),
        (status(0), None),
        (status(-5), None),
        (status(5, kind="Help"), None),
        (status(5)[:-4], None),
        (b"\xff", None),
        (b"\x0d\x00\x00\x00\x00", None),
        ("text", None),
    ],
    ids=itertools.count(),
)
def test_the_rich_status_of_grpc(details: object, seconds: float | None) -> None:
    """Its `RetryInfo`, in the trailing metadata."""
    assert says_when(by_grpc(details)) is (seconds is not None or details == status(0))
    assert hint_of(by_grpc(details)) == seconds
    assert hint_of(by_grpc(details, name="elsewhere-bin")) is None


def test_a_call_of_grpc_may_have_no_metadata() -> None:
    """For instance since it was refused."""
    assert hint_of(busy(trailing_metadata=lambda: None)) is None


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ({"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "5s"}]}}, 5),
        ({"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "0.5s"}]}, 0.5),
        ({"details": [{"@type": "x/google.rpc.Help"}]}, None),
        ({"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "soon"}]}, None),
        ({"error": "busy"}, None),
        ("busy", None),
    ],
)
def test_the_rich_status_in_json(details: object, seconds: float | None) -> None:
    """As Google's HTTP services have it."""
    assert hint_of(busy(details=details)) == seconds


def test_the_longest_hint_of_a_group() -> None:
    """Each of its servers is to be left alone for that long."""
    errors = [busy(retry_after=2), busy(retry_after=9), busy(), busy(retry_after=3)]
    assert hint_of(ExceptionGroup("", errors)) == 9  # type: ignore[type-var]
    assert hint_of(ExceptionGroup("", [busy()])) is None  # type: ignore[type-var]


def test_a_hint_that_is_in_several_groups() -> None:
    """It is read once, also where a group says that it is in itself."""
    assert hint_of(shared(busy(retry_after=7))) == 7
    inner = ExceptionGroup("", [busy(retry_after=7)])
    assert hint_of(ExceptionGroup("", [ExceptionGroup("", [inner, busy()]), inner])) == 7
    assert hint_of(ExceptionGroup("", [inner, ExceptionGroup("", [busy(), inner])])) == 7
    assert hint_of(Circular("", [KeyError(), busy(retry_after=7)])) == 7
    assert hint_of(Circular("", [KeyError()])) is None


def test_a_hint_in_groups_as_deep_as_they_like() -> None:
    """Nothing calls itself for each of them."""
    assert hint_of(nested(busy(retry_after=7))) == 7
    assert hint_of(nested(busy())) is None


def test_a_groups_own_hint() -> None:
    """Counts where none of its errors has one."""
    outer, inner = busy_group(5, busy_group(9, busy())), busy_group(5, busy(retry_after=2))
    assert hint_of(outer) == 9
    assert hint_of(inner) == 2


def busy_group(seconds: float, error: BaseException) -> BaseException:
    group = BaseExceptionGroup("", [error])
    group.retry_after = seconds  # type: ignore[attr-defined]
    return group


class Broken(Exception):
    """An error whose attributes cannot be read."""

    @property
    def response(self) -> Mapping[str, str]:
        raise LookupError

    headers = retry_after = status_code = response

    def trailing_metadata(self) -> object:
        raise LookupError


@pytest.mark.parametrize(
    "unreadable",
    [
        {"headers": [("server", "shop")]},
        {"headers": "none"},
        {"details": {"error": "busy"}},
        {"details": {"details": [{"reason": "busy"}]}},
        {"trailing_metadata": lambda: 7},
    ],
)
def test_what_cannot_be_read_hides_nothing_else(unreadable: dict[str, Any]) -> None:
    """A hint may be elsewhere."""
    error = busy(response=SimpleNamespace(headers={"retry-after": "7"}), **unreadable)
    assert hint_of(error) == 7
    assert says_when(busy(retry_after=7, **unreadable))


class Unreadable(dict[str, Any]):
    """What a broken client may have for a response: it looks like botocore's, and raises."""

    def __getitem__(self, _: str) -> Any:
        raise LookupError


class NoNumber:
    """What a broken client may have for seconds."""

    def __float__(self) -> float:
        raise LookupError


@pytest.mark.parametrize(
    "error",
    [Broken(), busy(response=Unreadable()), busy(retry_after=NoNumber())],
    ids=["all", "response", "seconds"],
)
def test_a_broken_error_has_no_hint(error: BaseException) -> None:
    """And what it raises does not come out."""
    assert hint_of(error) is None
    assert not says_when(error)
    assert status_of(error) is None
