"""What reaches a handler of an application's that logs by the standard library."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar


class Records(logging.Handler):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


H = TypeVar("H", bound=logging.Handler)


@contextmanager
def handled_by(handler: H) -> Iterator[H]:
    """Let a handler get the lines of this package, as far as their logger lets them through."""
    logger = logging.getLogger("supervisor")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
