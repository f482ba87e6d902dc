"""How values and keys are shown: as variables, or a TOML file, would have them."""

from __future__ import annotations

import json
import re
from typing import Final

from pydantic import SecretStr

from supervisor.arguments import shown
from supervisor.settings.notation import Named, cut
from supervisor.settings.readers import is_list


def toml_key(*path: str) -> str:
    """Return a key as TOML has it, with quotes where they are needed, but for the rest of a very
    long one.
    """
    return ".".join(map(_toml_part, path))


def _toml_part(key: str) -> str:
    key = cut(key)
    return key if _BARE.fullmatch(key) else json.dumps(key)


_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def written(value: object) -> str:
    """Return a value as a variable would have it."""
    match value:
        case None | ():
            return "none"
        case bool():
            return str(value).lower()
        case str() | Named() | SecretStr():
            return str(value)
        case _ if is_list(value):
            return ",".join(map(written, value))
        case _ if (name := getattr(value, "__qualname__", None)) is not None:
            module = getattr(value, "__module__", "")
            return name if module == "builtins" else f"{module}{':' if '.' in name else '.'}{name}"
        case _:
            return shown(value)
