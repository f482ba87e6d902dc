"""What the package is installed without, unless its extra `demo` is asked for."""

from __future__ import annotations

from typing import Final

EXTRA: Final = ("httpx", "matplotlib", "rich", "uvicorn")


def advice(what: str, missing: ModuleNotFoundError) -> str:
    """Return what to do about a package of the extra's that `what` needs.

    Raises:
        ModuleNotFoundError: the same, if it is none of the extra's.
    """
    package = str(missing.name).partition(".")[0]
    if package not in EXTRA:
        raise missing
    return f"{what} needs {package}: pip install 'circuit-supervisor[demo]'"
