"""Google's rich status of an error, as far as retries go by it: the delays in its `RetryInfo`.

gRPC carries it as a protocol buffer among the trailing metadata, Google's HTTP services as JSON
(google/rpc/status.proto, google/rpc/error_details.proto). The few fields are read here, since the
package for it need not be installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

TYPE: Final = "google.rpc.RetryInfo"
IN_METADATA: Final = "grpc-status-details-bin"

# The numbers of the fields: of a Status, of an Any, of a RetryInfo, and of a Duration.
DETAILS: Final = 3
TYPE_URL, VALUE = 1, 2
RETRY_DELAY: Final = 1
SECONDS, NANOS = 1, 2


def retry_delays(error: BaseException) -> Iterator[float]:
    """Return the delays, in seconds, that a server has put into the details of an error.

    Raises:
        Exception: of any type, if what is there cannot be read.
    """
    metadata: Any = getattr(error, "trailing_metadata", None)
    if callable(metadata):
        of_call: Any = metadata()
        for name, value in of_call or ():
            if name == IN_METADATA:
                yield from _in_status(value)
    yield from _in_json(getattr(error, "details", None))


def _in_json(details: Any) -> Iterator[float]:
    if hasattr(details, "get"):
        whole: Any = details
        for each in whole.get("error", whole).get("details", ()):
            if each["@type"].endswith(TYPE):
                yield float(each["retryDelay"].removesuffix("s"))


def _in_status(status: bytes) -> Iterator[float]:
    for number, detail in _fields(status):
        if number == DETAILS:
            packed = dict(_fields(detail))
            if packed[TYPE_URL].decode().endswith(TYPE):
                delay = dict(_fields(dict(_fields(packed[VALUE]))[RETRY_DELAY]))
                yield delay.get(SECONDS, 0) + delay.get(NANOS, 0) / 1e9


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Return the fields of a message: their numbers, and whole numbers or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: Any
        match key & 7:
            case 0:
                value, at = _varint(message, at)
            case 2:
                size, at = _varint(message, at)
                if at + size > len(message):
                    raise ValueError("the message has been cut short")
                value, at = message[at : at + size], at + size
            case kind:
                raise ValueError(f"a field of the kind {kind} is in none of these messages")
        yield key >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a whole number of 64 bits, seven in each byte, the lowest first; and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value - (1 << 64 if value >> 63 else 0), at
