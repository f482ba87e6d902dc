"""The structure, kept: rooms with doors, one direction of dependency, and figures that stay small.

A room is a package of `supervisor`, or a single file in it; its door is its `__init__`.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import supervisor
from supervisor.guard.wrapper import Shape, source_for

PACKAGE = Path(supervisor.__file__).parent
ROOMS = [
    "lazily",
    "arguments",
    "policy",
    "machine",
    "settings",
    "errors",
    "recording",
    "loop",
    "circuit",
    "events",
    "guard",
    "instrumentation",
    "sharing",
    "supervision",
    "registry",
    "retry",
    "testing",
    "integrations",
    "commands",
    "__main__",
]
"""In the order in which they may use each other: only from above, and only by the door."""

OUTSIDE = {
    "settings": {"pydantic", "pydantic_core", "pydantic_settings"},
    "loop": {"anyio", "asyncio", "sniffio", "trio"},
    "events": {"anyio"},
    "guard": {"anyio"},
    "instrumentation": {"anyio", "loguru", "opentelemetry", "prometheus_client"},
    "integrations": {
        "aiohttp",
        "anthropic",
        "anyio",
        "asyncio",
        "grpc",
        "httpx",
        "httpx2",
        "langchain",
        "langchain_core",
        "langgraph",
        "mcp",
        "openai",
        "pydantic_ai",
    },
    "sharing": {"anyio", "coredis"},
    "supervision": {"anyio"},
    "retry": {"anyio", "tenacity"},
    "testing": {"anyio", "asyncio", "pytest", "sniffio", "trio", "uvloop"},
}
"""What each room may use from outside the standard library, and of asyncio; others use nothing."""

BY_PUBLIC_NAMES = {"integrations", "testing"}
"""Rooms that use the package as its users do."""

EXPORTERS = {
    "instrumentation/opentelemetry.py",
    "instrumentation/prometheus.py",
    "instrumentation/sums.py",
}
"""Modules that do so as well, besides the rooms above theirs; no door lets them out."""

HOMES = {
    "errors",
    "events",
    "instrumentation",
    "recording",
    "registry",
    "retry",
    "settings",
    "testing",
}
"""Where public names are at home, besides the package itself."""

MODULES = sorted(PACKAGE.rglob("*.py"))

LONGEST_FILE, LONGEST_FUNCTION, MOST_METHODS = 300, 40, 25
LONG_FILES = {"machine/machine.py"}
MANY_METHODS = {"Machine"}
"""What is of one piece, or wide on purpose."""


def room_of(path: Path) -> str:
    """The room that a file stands in."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name_of(path: Path) -> str:
    """What a file is called by those that import it."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    """What is written in a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def names_in(path: Path) -> set[str]:
    """All names that a file uses, those that it imports under others included."""
    nodes = list(ast.walk(tree_of(path)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return names | {node.name for node in nodes if isinstance(node, ast.alias)}


def imports_of(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & ALL_NAMES
            found.update(modules)
            if len(modules) < len(names):
                found.add(node.module)
    return found


ALL_NAMES = {name_of(path) for path in MODULES}

files = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


@files
def test_imports_go_one_way_and_by_the_door(path: Path) -> None:
    """A room uses only rooms above it, and nothing that is behind their doors."""
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports_of(path):
        package, _, rest = name.partition(".")
        used, _, inside = rest.partition(".")
        if package != "supervisor" or used == room:
            own_door = name == f"supervisor.{room}" and path.name != "__init__.py"
            by_users = room in BY_PUBLIC_NAMES
            assert by_users or not own_door, f"{path} uses the door of its own room"
            continue
        if room in BY_PUBLIC_NAMES:
            assert used == "" or (used in HOMES and not inside), f"{path} uses {name}"
            continue
        if not used and str(path.relative_to(PACKAGE)) in EXPORTERS:
            continue
        assert used, f"{path} uses the package as a whole"
        assert ROOMS.index(used) < ROOMS.index(room), f"{room} must not use {used}"
        by_door = not inside or room == "__main__"
        assert by_door, f"{path} uses {name}, which is behind the door of {used}"


def test_no_circle_within_a_room() -> None:
    """The modules of a room can be read one after the other; `TopologicalSorter` raises if not."""
    uses = {
        name_of(path): {name for name in imports_of(path) if name.startswith("supervisor.")}
        for path in MODULES
        if path.name != "__init__.py"
    }
    TopologicalSorter(uses).prepare()


def test_every_room_has_its_place() -> None:
    """A new room has to be put into the list, and into the map of the package."""
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms == set(ROOMS)
    assert supervisor.__doc__ is not None
    for room in rooms - {"__main__"}:
        assert f"\n    {room} " in supervisor.__doc__, f"{room} is missing in the package's map"


@pytest.mark.parametrize("door", sorted(PACKAGE.glob("*/__init__.py")), ids=room_of)
def test_a_door_says_what_is_behind_it(door: Path) -> None:
    """Its first line says what the room is; every module behind it is on its map."""
    text = ast.get_docstring(tree_of(door))
    assert text is not None
    assert len(text.splitlines()[0]) > 20
    for path in door.parent.glob("[a-z]*.py"):
        assert re.search(rf"\b{path.stem}\b", text), f"{path.stem} is missing on the map"
    for package in door.parent.glob("*/__init__.py"):
        assert re.search(rf"\b{package.parent.name}\b", text), f"{package} is missing on the map"


LAZY = [door for door in PACKAGE.rglob("__init__.py") if "__getattr__" in names_in(door)]


@pytest.mark.parametrize("door", LAZY, ids=name_of)
def test_what_is_imported_late_is_what_type_checkers_see(door: Path) -> None:
    """The same names, from the same modules; and all of them are public."""
    (block,) = [node for node in tree_of(door).body if isinstance(node, ast.If)]
    seen = {
        node.module: tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    (table,) = [node for node in ast.walk(block) if isinstance(node, ast.Dict)]
    assert ast.literal_eval(table) == seen
    assert {name for names in seen.values() for name in names} <= names_exported_by(door)


def names_exported_by(door: Path) -> set[str]:
    """What stands in its `__all__`."""
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree_of(door).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return set(names)


@pytest.mark.parametrize("room", sorted(set(ROOMS) - {"commands", "__main__"}))
def test_each_outside_library_has_its_rooms(room: str) -> None:
    """Only `loop` and `testing` know asyncio and trio, and guards for libraries of asyncio's that;
    other libraries but anyio have one room.
    """
    used = {
        name.partition(".")[0]
        for path in MODULES
        if room_of(path) == room
        for name in imports_of(path)
    }
    allowed = sys.stdlib_module_names - {"asyncio"} | {"supervisor"}
    assert used - allowed == OUTSIDE.get(room, set())


@files
def test_no_lock_anywhere(path: Path) -> None:
    """No module mentions a lock, a semaphore or a condition."""
    if room_of(path) == "commands":
        return
    names = names_in(path)
    assert not names & {"Lock", "RLock", "Semaphore", "Condition", "CapacityLimiter"}


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if room_of(path) in ("arguments", "policy", "machine")],
    ids=name_of,
)
def test_the_machine_is_pure(path: Path) -> None:
    """No clock, no I/O, no async, no logging, in it or in anything that it uses."""
    harmless = {"__future__", "bisect", "collections.abc", "dataclasses", "difflib", "enum"}
    harmless |= {"functools", "heapq", "inspect", "itertools", "math", "reprlib", "textwrap"}
    harmless |= {"fractions", "types", "typing"}
    harmless |= {"random"}  # by a seed that is given
    outside = {name for name in imports_of(path) if not name.startswith("supervisor")}
    assert outside <= harmless
    assert not names_in(path) & {"open", "print", "input", "eval", "exec", "__import__"}
    awaits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not any(isinstance(node, awaits) for node in ast.walk(tree_of(path)))


@files
def test_files_functions_and_classes_stay_small(path: Path) -> None:
    """What grows beyond this is two things; lines of docstrings are not counted in functions."""
    if str(path.relative_to(PACKAGE)) not in LONG_FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert lines_of(node) <= LONGEST_FUNCTION, node.name
        elif isinstance(node, ast.ClassDef) and node.name not in MANY_METHODS:
            methods = {each.name for each in node.body if isinstance(each, FUNCTIONS)}
            assert len(methods) <= MOST_METHODS, node.name


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How long a function is, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        doc = function.body[0]
        assert doc.end_lineno is not None
        lines -= doc.end_lineno - doc.lineno + 1
    return lines


# The shortest path


def test_the_shortest_path_is_the_same_in_its_places() -> None:
    """`call`, a decorated function and a block have it written out, since a function would cost as
    much as the guard: all find the circuit, are admitted, and count a success alike.
    """
    breaker = tree_of(PACKAGE / "guard" / "breaker.py")
    call, entered = (list(statements_of(breaker, name)) for name in ("call", "__aenter__"))
    left = list(statements_of(tree_of(PACKAGE / "guard" / "block.py"), "leave"))
    decorated = list(statements_of(tree_of(PACKAGE / "guard" / "wrapper.py"), "guarded"))
    begin = "circuit = self._circuit"
    found = call.index(begin)
    for body in (decorated, entered):  # a block is entered by no coroutine, unless it has to join
        same = [
            each.replace("breaker.", "self.").replace(
                "return self._enter_first(block)", "circuit = await self._begin()"
            )
            for each in body
        ]
        at = same.index(begin)
        assert same[at : at + 2] == call[found : found + 2]
    assert admission_of(call) == admission_of(decorated)
    success = (
        "if grant is circuit.grant:\n    circuit.unsent_successes += 1"
        "\nelse:\n    circuit.ending += 1\n    succeed(circuit, grant, result, began)"
    )
    assert sum(success in statement for statement in call) == 1
    assert sum(success in statement for statement in decorated) == 1
    with_headroom = (
        "if circuit.headroom > 0 and block is not None:"
        "\n    block.circuit, block.grant = (circuit, circuit.grant)"
        "\n    block.began = circuit.started = circuit.started + 1"
    )
    assert sum(statement.startswith(with_headroom) for statement in entered) == 1
    success = (  # a block may be left by another thread
        "if exc is None and grant is circuit.grant and (circuit.loop.thread == get_ident()):"
        "\n    self.grant = None\n    circuit.unsent_successes += 1"
    )
    assert sum(success in statement for statement in left) == 1


def test_a_written_wrapper_is_the_plain_one() -> None:
    """Of a function that takes whatever it is given, it is that word for word, but for what it has
    in it for calls that are known while they run.
    """
    plain = statements_of(tree_of(PACKAGE / "guard" / "wrapper.py"), "guarded")
    shape = Shape((), 0, 0, (), frozenset(), ("args",), ("kwargs",))
    tree = WithoutKnownCalls().visit(ast.parse(source_for(shape, "")))
    written = statements_of(tree, "guarded")
    assert [each.replace("(*args,), {**kwargs}", "args, kwargs") for each in written] == [
        each.replace("grant: Ticket =", "grant =") for each in plain
    ]


class WithoutKnownCalls(ast.NodeTransformer):
    """Takes out what is for calls that are known while they run, and leaves what is else."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Look into the test, since that is where it is asked about."""
        self.generic_visit(node)
        return node.orelse if "only_keeps_calls" in ast.unparse(node.test) else node


def statements_of(tree: ast.Module, name: str) -> Iterator[str]:
    """The statements of the last function of that name, each as text in one form."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, FUNCTIONS) and node.name == name
    ]
    longest = max(functions, key=lambda node: len(node.body))  # not one of its overloads
    for statement in longest.body:
        yield ast.unparse(statement)


def admission_of(statements: list[str]) -> tuple[str, str]:
    """How a call is admitted: with headroom, and without."""
    (admission,) = (each for each in statements if each.startswith("if circuit.headroom > 0"))
    with_headroom, without = admission.split("\nelse:\n")
    return with_headroom, "\n".join(without.splitlines()[:2])


def test_public_names() -> None:
    """Everything in `__all__` is there, and has a docstring of its own if it can have one."""
    for name in supervisor.__all__:
        thing = getattr(supervisor, name)
        assert not callable(thing) or thing.__doc__, name


def test_the_version_is_that_of_the_metadata() -> None:
    """It is written in one place."""
    assert supervisor.__version__ == importlib.metadata.version("circuit-supervisor")
