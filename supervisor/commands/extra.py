"""What the package is installed without, unless one of its extras is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Extra = Literal["demo", "redis", "top"]

EXTRAS: Final[Mapping[Extra, tuple[str, ...]]] = {
    "demo": ("anycorn", "httpx", "matplotlib", "rich", "uvicorn"),
    "redis": ("coredis",),
    "top": ("httpx", "rich"),
}


def advice(what: str, missing: ModuleNotFoundError, extra: Extra = "demo") -> str:
    """Return what to do about a package of an extra that `what` needs; it is on an index, whether
    or not this one is.

    Raises:
        ModuleNotFoundError: the same, if it is none of the extra's.
    """
    package = str(missing.name).partition(".")[0]
    if package not in EXTRAS[extra]:
        raise missing
    return f"{what} needs {package}: pip install {package}"
