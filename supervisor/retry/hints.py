"""For how long a server asks to be left alone: read from the error that a client has raised.

Nothing here raises: what cannot be read is no hint, and never replaces the call's own error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from supervisor.policy import held_by, hinted, inside_out
from supervisor.retry.rich_status import retry_delays


def hint_of(error: BaseException) -> float | None:
    """Return the seconds, more than 0, for which the server asks to wait; None: it does not.

    It is read from `Retry-After` in seconds or as an HTTP date and from `retry-after-ms`, in the
    headers of the error or of its `response`; from gRPC's `RetryInfo`; and from an attribute
    `retry_after` in seconds. Of a group of errors, it is the longest.
    """
    hints: dict[int, float | None] = {}
    for each in inside_out(error):
        held = [hint for one in held_by(each) if (hint := hints.get(id(one))) is not None]
        hints[id(each)] = max(held) if held else _own_hint(each)
    return hints[id(error)]


def _own_hint(error: BaseException) -> float | None:
    with suppress(Exception):  # attributes may be properties, and those of a broken client raise
        return next(filter(None, _found_in(error)), None)
    return None


def says_when(error: BaseException) -> bool:
    """Return whether a server says when to come back, be it at once: by 0, or a date in the past.

    That is nothing to wait for, and yet an invitation.
    """
    with suppress(Exception):
        return any(seconds is not None for seconds in _found_in(error))
    return False


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a client's error is about, if it tells one."""
    response = _attribute(error, "response")
    if (status := _whole(_of_botocore(response, "HTTPStatusCode"))) is not None:
        return status
    for of in (error, response):
        for name in ("status_code", "status", "code"):
            if (status := _whole(_attribute(of, name))) is not None:
                return status
    return None


def _found_in(error: BaseException) -> Iterator[float | None]:
    """Find what may be a hint, the most exact first; 0 says that nothing is to be waited for."""
    response = _attribute(error, "response")
    for found in (
        _in_headers(_of_botocore(response, "HTTPHeaders")),
        _in_headers(_attribute(error, "headers")),
        _in_headers(_attribute(response, "headers")),
        map(_seconds, retry_delays(error)),
    ):
        with suppress(Exception):  # what cannot be read hides nothing else
            yield from found
    yield _seconds(_attribute(error, "retry_after")) or None  # it may be 0 for want of anything


def _in_headers(headers: Any) -> Iterator[float | None]:
    if headers is None:
        return
    values = {str(name).lower(): str(value) for name, value in headers.items()}
    milliseconds = _seconds(values.get("retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    after = values.get("retry-after")
    yield _seconds(after)
    yield _until(after)


def _until(date: str | None) -> float | None:
    """Return the seconds until an HTTP date, if it is one; 0 if it is in the past."""
    with suppress(TypeError, ValueError, OverflowError):
        then = parsedate_to_datetime(cast("str", date))
        then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
        return max(0.0, (then - datetime.now(UTC)).total_seconds())
    return None


def _seconds(value: object) -> float | None:
    """Return a number of seconds, given as it is or as text, if it is 0 or more, and finite."""
    if value is None or isinstance(value, bool):
        return None
    with suppress(TypeError, ValueError, OverflowError):
        seconds = float(cast("str", value))
        return hinted(seconds) if seconds else 0.0
    return None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _of_botocore(response: Any, what: str) -> Any:
    """Return what botocore tells of a response, which is a dictionary there; None for others."""
    with suppress(Exception):
        if isinstance(response, dict):
            return cast("Any", response)["ResponseMetadata"][what]
    return None


def _attribute(of: object, name: str) -> Any:
    """Return an attribute; None if it is not there, or raises."""
    with suppress(Exception):
        return getattr(of, name, None)
    return None
