"""Errors of clients that need not be installed: classes of the same modules and names."""

from __future__ import annotations

from typing import Any

DEEP = 5_000
"""Groups in each other, of which no function can call itself for each."""


def nested(error: BaseException, depth: int = DEEP) -> BaseException:
    """That error in a group, in a group, and so on."""
    for _ in range(depth):
        error = BaseExceptionGroup("", [error])
    return error


def shared(error: BaseException, depth: int = DEEP) -> BaseException:
    """That error twice in a group, which is twice in a group, and so on."""
    for _ in range(depth):
        error = BaseExceptionGroup("", [error, error])
    return error


class Circular(ExceptionGroup[Exception]):
    """A group that says that it holds itself, and what else it holds."""

    @property
    def exceptions(self) -> tuple[Exception | ExceptionGroup[Exception], ...]:
        """All that is in it."""
        return (self, *super().exceptions[1:])


def stand_in(
    module: str, *names: str, base: type[Exception] = Exception, **attributes: Any
) -> BaseException:
    """An error of the first class, whose bases the others are; `other.module:Name` is elsewhere."""
    kind = base
    for name in reversed(names):
        elsewhere, _, own = name.rpartition(":")
        kind = type(own, (kind,), {"__module__": elsewhere or module})
    error = kind("down")
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error
