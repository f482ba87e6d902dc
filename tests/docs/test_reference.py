"""Tables are complete and right: settings, fields of policies, public names, pictures."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

import supervisor
from tests.docs.documents import DOCS, DOCUMENTS, INDEX, ROOT, links_of, name_of, rows_of

SETTINGS = DOCS / "reference" / "settings.md"
POLICY = DOCS / "reference" / "policy.md"
API = DOCS / "reference" / "api.md"
ERRORS = DOCS / "reference" / "errors.md"
INTEGRATIONS = DOCS / "reference" / "integrations.md"
ARCHITECTURE = DOCS / "explanation" / "architecture.md"

DEFAULTS = {
    field.name: field.default.__name__ if isinstance(field.default, type) else repr(field.default)
    for field in fields(supervisor.Policy)
}
"""How the fields of a policy stand in code."""

PACKAGE = ROOT / "supervisor"
NAMES = re.compile(r"^\| `(supervisor\.[\w.]+)` \| ([^|]+) \|", re.MULTILINE)
ROOM = re.compile(r"^\| `(?:supervisor/)?([a-z_]+)(?:/|\.py)?` \|", re.MULTILINE)


def as_a_variable(value: object) -> str:
    """Return a default as it would stand in an environment variable."""
    match value:
        case None | ():
            return "none"
        case bool():
            return str(value).lower()
        case type():
            return value.__name__
        case _:
            return str(value)


@pytest.mark.parametrize("document", [INDEX, SETTINGS], ids=name_of)
def test_the_tables_of_settings_are_complete(document: Path) -> None:
    """Every variable is listed, with the default that it has."""
    expected = {
        group.prefix + name.upper(): as_a_variable(field.default)
        for group in (supervisor.CircuitBreakerSettings, supervisor.RetrySettings)
        for name, field in group.model_fields.items()
        if name != "circuits"  # not one variable, but one per circuit and field
    }
    assert {name: value for name, value in rows_of(document) if name in expected} == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_variable_is_made_up(document: Path) -> None:
    """What a page calls a variable is one, or begins like those of single circuits."""
    groups = (supervisor.CircuitBreakerSettings, supervisor.RetrySettings)
    known = {group.prefix + name.upper() for group in groups for name in group.model_fields}
    rows = {name for name, _ in rows_of(document) if name.startswith("BINDU_")}
    assert {name for name in rows - known if "CIRCUITS__" not in name} == set()


def test_the_table_of_policies_is_complete() -> None:
    """Every field of a policy stands once in the reference, with the default that it has."""
    rows = [row for row in rows_of(POLICY) if row[0] in DEFAULTS]
    assert Counter(rows) == Counter(DEFAULTS.items())


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_defaults_are_the_same_on_each_page(document: Path) -> None:
    """Where a page repeats a field of a policy, its default is the same."""
    for name, default in rows_of(document):
        if name in DEFAULTS:
            assert default == DEFAULTS[name], name


def test_every_field_is_explained() -> None:
    """Each field of a policy stands in the table of a page that explains it."""
    pages = (DOCS / "explanation" / "policies").glob("*.md")
    assert {name for page in pages for name, _ in rows_of(page)} >= set(DEFAULTS)


@pytest.mark.parametrize("file", sorted((DOCS / "policies").glob("*.toml")), ids=name_of)
def test_a_policy_is_shown_with_the_command_that_draws_it(file: Path) -> None:
    """Each policy that is drawn has its file, its picture, and its command on one page."""
    command = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    _, _, picture = command.rpartition(" ")
    pages = [page for page in DOCUMENTS if f"\n{command}\n" in page.read_text(encoding="utf-8")]
    assert pages
    for page in pages:
        assert {file, ROOT / picture} <= {path for _, path, _ in links_of(page)}


def test_every_public_name_is_in_the_reference() -> None:
    """The reference has everything that can be imported from the package."""
    text = API.read_text(encoding="utf-8")
    assert [name for name in supervisor.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_error_is_in_the_table_of_errors() -> None:
    """The page on errors begins with a table of all of them."""
    table = set(re.findall(r"^\| \[`(\w+)`\]", ERRORS.read_text(encoding="utf-8"), re.MULTILINE))
    public = {name: getattr(supervisor, name) for name in supervisor.__all__}
    assert table == {
        name for name, it in public.items() if isinstance(it, type) and issubclass(it, Exception)
    }


def test_every_integration_is_in_the_reference() -> None:
    """Each module has its row; what a row or a directive names is there, and has no underscore."""
    text = INTEGRATIONS.read_text(encoding="utf-8")
    integrations = PACKAGE / "integrations"
    files = {path.stem: path for path in integrations.glob("[a-z]*.py")}
    files |= {path.parent.name: path for path in integrations.glob("*/__init__.py")}
    modules = {f"supervisor.integrations.{name}": names_in(path) for name, path in files.items()}
    rows = {module: set(re.findall(r"`(\w+)`", names)) for module, names in NAMES.findall(text)}
    assert set(rows) == set(modules)
    for module, names in rows.items():
        assert names
        assert names <= modules[module], module
    for name in re.findall(r"^::: (.+)$", text, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert attribute in rows[module], name


def names_in(file: Path) -> set[str]:
    """Return what a module defines, or a package lets out; an import would need what it guards."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=str(name)) | ast.FunctionDef(name=str(name)):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=str(name))):
                names.add(name)
            case ast.ImportFrom() if file.stem == "__init__":
                names |= {each.name for each in node.names}
            case _:
                pass
    return {name for name in names if not name.startswith("_")}


def test_the_parts_depend_on_each_other_one_way() -> None:
    """The table of parts lists all of them, each below those that it imports."""
    parts = ROOM.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in there if not name.startswith("_")} <= set(parts)
    for index, part in enumerate(parts):
        path = PACKAGE / part
        files = list(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        for file in files:
            assert imports_of(file) <= {*parts[:index], part}, file.relative_to(PACKAGE)


def imports_of(file: Path) -> set[str]:
    """Return the parts of the package that `file` imports, wherever in it."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module="supervisor"):
                pass  # public names
            case ast.ImportFrom(module=str(module)) if module.startswith("supervisor."):
                imported.add(module.split(".")[1])
            case _:
                pass
    return imported
