"""What developers are told once of how circuits are set up, at the line of their code in question.

Log lines are silent until the application says otherwise, and whoever has to read this may not
know yet that there are any. So these are warnings of Python's, which are shown by default.
"""

from __future__ import annotations

import inspect
import warnings
from contextlib import suppress
from types import CodeType
from typing import Any, Final, cast

from supervisor.arguments import unwrapped
from supervisor.errors import SupervisorWarning
from supervisor.instrumentation.lines import write_of_setup
from supervisor.settings import app_settings

untold: Final = {"disabled"}
"""What is said once in a process, and has not been yet."""


Place = tuple[str, int, str | None]
"""A file, a line in it, and the module."""


def place_of(func: object) -> Place | None:
    """Return where a function begins, its decorators included; None if it is not Python's."""
    function: Any = inspect.unwrap(cast("Any", unwrapped(func)))
    for each in (function, type(function).__call__):
        code = getattr(each, "__code__", None)
        if type(code) is CodeType:  # and no mock of one
            return code.co_filename, code.co_firstlineno, getattr(each, "__module__", None)
    return None


def warn_of_shared_name(circuit: str, first: str, second: str, place: Place | None) -> None:
    """Warn that two functions share a circuit by the name that was generated for both.

    Args:
        circuit: that name.
        first, second: what the functions are called.
        place: where the second one begins.
    """
    text = (
        f"circuit {circuit}: shared by {first} and {second}, whose failures count together;"
        " name=... tells them apart"
    )
    _warn(text, place)


def tell_of_disabled(func: object) -> None:
    """Say, once in a process, that decorated functions run unguarded.

    It is a log line if a handler of the application's takes it; or else a warning, unless somebody
    has switched circuits off on purpose.

    Args:
        func: the first of them.
    """
    if "disabled" not in untold:
        return
    untold.discard("disabled")
    text = (
        "circuits are disabled, so decorated functions run unguarded; BINDU_CB_ENABLED=true"
        " enables them"
    )
    heard = write_of_setup("INFO", text, (), {})
    if not heard and not app_settings.circuit_breaker.setting("enabled").given:
        with suppress(SupervisorWarning):  # where warnings are errors, no call fails by this one
            _warn(f"{text}, and BINDU_CB_ENABLED=false ends this warning", place_of(func))


def _warn(text: str, place: Place | None) -> None:
    if place is None:
        warnings.warn(text, SupervisorWarning, stacklevel=4)
    else:
        warnings.warn_explicit(text, SupervisorWarning, *place)
