"""What holds for all circuits as long as nothing is set: known without reading any settings.

The library that reads them takes longer to import than all of this package.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from supervisor.settings.notation import Keep, Logs

DOTENV: Final = ".env"
"""A file with variables, in the directory that a program is started in."""

PREFIX: Final = "BINDU_CB_"
"""What the variables of circuits begin with."""


class Unset(NamedTuple):
    """The defaults of what is switched for all circuits, as far as running circuits ask for it; see
    `CircuitBreakerSettings`.
    """

    keep: Keep | None = None
    logs: Logs = "loguru"
    show_failures: bool = False


UNSET: Final = Unset()


# Looked for only now: later, an event loop may run here, which waits for no file. (pathlib takes
# longer to import than all of this.)
_HAS_DOTENV: Final = os.path.exists(DOTENV)  # noqa: PTH110


def may_be_set() -> bool:
    """Return whether there is anything that settings of circuits would be read from."""
    return _HAS_DOTENV or any(name.upper().startswith(PREFIX) for name in os.environ)
