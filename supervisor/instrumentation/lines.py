"""One log line, and the library that it goes to: loguru, or the standard library's `logging`.

Both are silent until the application says otherwise: loguru's lines by
`logger.enable("supervisor")`, those of `logging` by a handler of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal

from loguru import logger

from supervisor.loop import running_loop
from supervisor.settings import Logs, SettingsError, app_settings

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_NUMBERS: Final = logging.getLevelNamesMapping()

_standard: Final = logging.getLogger("supervisor")
_standard.addHandler(logging.NullHandler())
# Imported early, unlike other libraries: whoever imports it may switch these lines on next, and no
# function of loguru's would tell.
logger.disable("supervisor")


def use_logging() -> None:
    """Let log lines go to the standard library's logger "supervisor" from now on, not to loguru.

    It does what `BINDU_CB_LOGS=logging` does, or `app_settings.circuit_breaker.logs = "logging"`.

    Raises:
        SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
    """
    app_settings.circuit_breaker.logs = "logging"


def write(
    level: Level,
    text: str,
    values: tuple[object, ...],
    fields: Mapping[str, object],
    error: BaseException | None = None,
) -> None:
    """Write a line; a sink or a handler that raises takes nothing down.

    Args:
        level: its name in both libraries.
        text: with `%s` where the values go; no line is made that nobody reads.
        values: what goes into the text.
        fields: the facts, by names that no attribute of a `logging.LogRecord` has.
        error: has its traceback below the line.
    """
    with suppress(Exception):
        if _library() == "logging":
            _standard.log(_NUMBERS[level], text, *values, exc_info=error, extra=fields)
        else:
            log = logger.log if error is None else logger.opt(exception=error).log
            log(level, "{}", _Text(text, values), **fields)  # which cost nothing unless it is read


def write_of_setup(
    level: Level, text: str, values: tuple[object, ...], fields: Mapping[str, object]
) -> bool:
    """Write a line about how the application is set up: for a handler of `logging`, whatever
    library circuits log to, since whoever has to read it may not know yet that they log at all.

    Return whether there is such a handler.
    """
    write(level, text, values, fields)
    heard = _standard.isEnabledFor(_NUMBERS[level]) and _has_handler(_standard)
    if heard and _library() != "logging":
        with suppress(Exception):
            _standard.log(_NUMBERS[level], text, *values, extra=fields)
    return heard


def _has_handler(logger: logging.Logger) -> bool:
    """Whether the application has one for the lines of that logger."""
    if not all(isinstance(each, logging.NullHandler) for each in logger.handlers):
        return True
    return logger.propagate and logger.parent is not None and _has_handler(logger.parent)


class _Text:
    """A text that is made when somebody reads it."""

    __slots__ = ("_text", "_values")

    def __init__(self, text: str, values: tuple[object, ...]) -> None:
        self._text = text
        self._values = values

    def __str__(self) -> str:
        return self._text % self._values


def _library() -> Logs:
    if not app_settings.knows_circuits and running_loop() is not None:
        return "loguru"  # an event loop must not wait for files here; its supervisor has them read
    try:
        return app_settings.of_running_circuits.logs
    except SettingsError:  # whoever uses the settings is told
        return "loguru"
