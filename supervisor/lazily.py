"""Names of a package whose modules are imported when somebody first asks for one of them.

They stand in its door twice: among imports for type checkers, and in a table of where they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, table: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package that has these names, by their modules.

    A name is looked up once, and an attribute of the package from then on; so are modules in it.
    """
    homes = {name: module for module, names in table.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807  (PEP 562)
        here = sys.modules[package]
        if f"{package}.{name}" in table:
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}", name=name, obj=here
            )
        value = getattr(import_module(homes[name]), name)
        setattr(here, name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
