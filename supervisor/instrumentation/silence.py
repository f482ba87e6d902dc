"""Lines by loguru are off until the application switches them on, which may import it at any time.

Whoever imports loguru may do that next. So they have to be switched off at that very moment: no
function of loguru's tells later whether somebody has switched them on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

    from loguru import Logger

LOGURU: Final = "loguru"


def loguru_logger() -> Logger | None:
    """Return loguru's logger, unless the application has not imported it so far."""
    return getattr(sys.modules.get(LOGURU), "logger", None)


class _Finder:
    """Finds loguru as others do, with a loader that switches lines off."""

    def __init__(self) -> None:
        self._asks_others = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return how loguru is loaded."""
        if fullname != LOGURU or self._asks_others:
            return None
        self._asks_others = True
        try:
            spec = find_spec(fullname)
        finally:
            self._asks_others = False
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", _Loader(spec.loader))
        return spec


class _Loader:
    """Loads loguru by the loader that is meant for it, which it looks like to all others."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what that makes."""
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Load it, and switch lines off."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._own
        self._own.exec_module(module)
        module.logger.disable("supervisor")


def be_silent() -> None:
    """Switch lines off, at once or as soon as there is a logger."""
    if LOGURU in sys.modules:
        from loguru import logger  # noqa: PLC0415  (another thread may be at it)

        logger.disable("supervisor")
    else:
        sys.meta_path.insert(0, _Finder())


be_silent()
