"""How every command ends: with a status, and one line about what went wrong."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Final, TextIO, cast

UNUSABLE: Final = 2
"""The exit status of what is given and cannot be used, also by argparse."""

INTERRUPTED: Final = 130
"""The exit status that shells expect after Ctrl-C."""


def ended(command: Callable[[], int]) -> int:
    """Run a command to its end, and return the exit status.

    Whatever the world does to it, it ends without a traceback: a reader who has seen enough, as
    `head` has, is no error; a disk that is full, a terminal that cannot show a name, and Ctrl-C are
    told in one line.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  (it is, if it was closed)
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            return ended(command)  # as services may be started: the status tells
    output: TextIO = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        cast("io.TextIOWrapper", output).reconfigure(errors="backslashreplace")
    try:
        try:
            return command()
        except BaseExceptionGroup as errors:  # of tasks: what the first of them has met
            raise _first_of(errors) from None
        finally:
            output.flush()  # at the end of the interpreter nobody could answer for it
    except BrokenPipeError:
        _drop_what_is_left()
        return 0
    except OSError as error:
        _drop_what_is_left()
        return _told(f"{error}: make sure that it can be read or written, and try again")
    except (MemoryError, RecursionError) as error:
        return _told(f"what is given is too much ({type(error).__name__}): make it smaller")
    except KeyboardInterrupt:
        return _told("interrupted", INTERRUPTED)


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _first_of(cast("BaseExceptionGroup[BaseException]", first))
    return first


def _told(what: str, status: int = UNUSABLE) -> int:
    with suppress(OSError):  # whoever has closed this as well looks at the status
        print(what, file=sys.stderr)
    return status


def _drop_what_is_left() -> None:
    """Let nothing be left that the interpreter would try to print when it ends, and complain of."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # it may be none of the system's files
            os.dup2(null, sys.stdout.fileno())
        os.close(null)
