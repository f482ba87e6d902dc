"""Files with settings, read as text: whatever editors and shells put before it or around it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

ENCODING: Final = "utf-8-sig"
"""UTF-8, with a byte-order mark or without, as some editors write it."""


def read_toml(file: str | Path) -> dict[str, Any]:
    """Return what is in a TOML file.

    Raises:
        OSError: it cannot be read.
        TypeError, ValueError: it is no TOML file, or nested too deep.
    """
    text = Path(file).read_bytes().decode(ENCODING)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def why(error: Exception) -> str:
    """Return why a file cannot be read, and what to do."""
    if isinstance(error, UnicodeError):
        return f"it is not in UTF-8: save it as that; {error}"
    return str(error)
