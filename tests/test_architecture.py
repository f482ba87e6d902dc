"""The structure, kept: one direction of dependency, no locks, no clocks in the machine."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import supervisor

PACKAGE = Path(supervisor.__file__).parent
LAYERS = [
    "checks",
    "outcomes",
    "policy",
    "notation",
    "messages",
    "windows",
    "tripping recovery probing shares",
    "machine",
    "recording",
    "replay",
    "bell",
    "errors statistics mailbox event_loop",
    "classification timeouts watch",
    "circuit",
    "actor current permit tasks idleness",
    "threads",
    "breaker",
    "events",
    "logs",
    "supervisor",
    "settings",
    "registry",
    "loops",
    "retry",
    "testing",
    "check demo",
    "simulation",
    "__main__",
]
"""Modules in the order in which they may use each other: only from above."""

LEVELS = {module: level for level, line in enumerate(LAYERS) for module in line.split()}
MODULES = sorted(PACKAGE.rglob("*.py"))
OUTSIDE = {
    "messages": set[str](),
    "machine": set[str](),
    "recording": set[str](),
    "replay": set[str](),
    "checks": set[str](),
    "outcomes": set[str](),
    "policy": set[str](),
    "notation": set[str](),
    "windows": set[str](),
    "tripping": set[str](),
    "recovery": set[str](),
    "probing": set[str](),
    "shares": set[str](),
    "classification": {"anyio"},
    "timeouts": {"anyio"},
    "watch": set[str](),
    "check": set[str](),
    "statistics": set[str](),
    "errors": set[str](),
    "bell": {"trio", "asyncio"},
    "mailbox": set[str](),
    "event_loop": {"anyio", "trio", "asyncio"},
    "circuit": set[str](),
    "actor": {"anyio"},
    "current": {"anyio"},
    "permit": set[str](),
    "idleness": set[str](),
    "threads": {"anyio", "sniffio", "trio", "asyncio"},
    "breaker": set[str](),
    "events": {"anyio"},
    "tasks": {"anyio", "sniffio", "trio", "asyncio"},
    "logs": {"loguru"},
    "supervisor": {"anyio"},
    "settings": {"pydantic", "pydantic_core", "pydantic_settings"},
    "registry": set[str](),
    "loops": {"anyio", "tenacity"},
    "retry": set[str](),
}
"""What each module may use from outside the standard library, and of asyncio."""


def _module(path: Path) -> str:
    """The name under which a file stands in `LAYERS`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "supervisor":
                found.update(f"supervisor.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_direction_of_dependency(path: Path) -> None:
    """A module uses only modules above it in the list; the demo may use the public names."""
    module = _module(path)
    if module == "__init__":
        return
    for name in _imports(path):
        package, _, rest = name.partition(".")
        used = rest.partition(".")[0]
        if package != "supervisor" or used == module or used not in LEVELS:
            continue
        assert LEVELS[used] < LEVELS[module], f"{module} must not use {used}"


def test_every_module_has_its_place() -> None:
    """A new module has to be put into the list, and into the map of the package."""
    names = {_module(path) for path in MODULES} - {"__init__"}
    assert names == set(LEVELS)
    assert supervisor.__doc__ is not None
    for name in names - {"__main__"}:
        assert name in supervisor.__doc__, f"{name} is missing in the package's map"


@pytest.mark.parametrize("module", OUTSIDE)
def test_one_outside_library_each(module: str) -> None:
    """The core uses anyio alone; each other library is used in one place."""
    import sys

    outside = {name.partition(".")[0] for name in _imports(PACKAGE / f"{module}.py")}
    allowed = sys.stdlib_module_names - {"asyncio"} | {"supervisor"}
    assert outside - allowed == OUTSIDE[module]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_lock_anywhere(path: Path) -> None:
    """No module mentions a lock, a semaphore or a condition."""
    if _module(path) == "demo":
        return
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not names & {"Lock", "RLock", "Semaphore", "Condition", "CapacityLimiter"}


PURE = {"messages", "outcomes", "policy", "checks", "machine"}
PARTS = {"windows", "tripping", "recovery", "probing", "shares"}


@pytest.mark.parametrize("module", sorted(PURE | PARTS))
def test_the_machine_is_pure(module: str) -> None:
    """No clock, no I/O, no async, no logging, in it or in anything that it uses."""
    imports = _imports(PACKAGE / f"{module}.py")
    own = {name.removeprefix("supervisor.") for name in imports if name.startswith("supervisor.")}
    assert own <= PURE | PARTS
    harmless = {"bisect", "collections.abc", "dataclasses", "enum", "functools", "inspect", "math"}
    harmless |= {"__future__", "random", "typing"}  # random numbers by a seed that is given
    assert imports - {f"supervisor.{name}" for name in own} <= harmless
    source = ast.parse((PACKAGE / f"{module}.py").read_text())
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(source))


def test_public_names() -> None:
    """Everything in `__all__` is there, and has a docstring of its own if it can have one."""
    for name in supervisor.__all__:
        thing = getattr(supervisor, name)
        assert not callable(thing) or thing.__doc__, name
