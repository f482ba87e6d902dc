"""Text that follows from the fields of `Policy`: written by `make generated`, kept by a test.

Type checkers and editors read source, so what has a policy's fields must have them written out:
the keywords by which users give a policy, the settings, and the tables in the documents.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from supervisor import Policy
from supervisor.policy import KINDS
from supervisor.retry.clients import CLIENTS
from supervisor.settings import written

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = (
    ROOT / "docs" / "CIRCUIT_BREAKER.md",
    ROOT / "docs" / "reference" / "policy.md",
    ROOT / "docs" / "reference" / "settings.md",
    ROOT / "docs" / "reference" / "clients.md",
)
POSITIONAL: Final = ("failure_threshold", "recovery_timeout", "success_threshold")
"""Fields that a breaker takes by position too, as existing code gives them."""


@dataclass(frozen=True)
class Field:
    """A field of a policy, as it is written."""

    name: str
    type: str  # without `| None`
    optional: bool
    default: str
    doc: str


def fields_written() -> list[Field]:
    """Read the definition of the fields."""
    source = ast.parse(inspect.getsource(Policy)).body[0]
    assert isinstance(source, ast.ClassDef)
    found: list[Field] = []
    for node, after in zip(source.body, source.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert node.value is not None
            written = ast.unparse(node.annotation)
            assert isinstance(after, ast.Expr), f"{node.target.id} has no docstring"
            doc = " ".join(ast.literal_eval(after.value).split())
            found.append(
                Field(
                    node.target.id,
                    written.removesuffix(" | None"),
                    written.endswith(" | None"),
                    ast.unparse(node.value).replace("'", '"'),  # as ruff has it
                    doc,
                )
            )
    assert [field.name for field in found] == [field.name for field in fields(Policy)]
    return found


HEADER: Final = '''"""{doc}

Written by `make generated`; do not edit.
"""

from __future__ import annotations

'''

KEYWORDS: Final = "The fields of a policy as keywords, so that type checkers know them."
SETTINGS: Final = "The fields of a policy as settings, for all circuits and for one."
OF_ALL: Final = "What circuits have that have no settings of their own."
OF_ONE: Final = "What one circuit has; None: what all have, or the part is not there."


def kinds_used(found: list[Field]) -> str:
    names = ",\n    ".join(sorted({field.type for field in found}))
    return f"from supervisor.policy.kinds import (\n    {names},\n)\n"


def docstring(text: str, indent: str) -> str:
    lines = textwrap.wrap(f'"""{text}"""', 98 - len(indent), break_long_words=False)
    return "\n".join(indent + line for line in lines)


def keywords() -> str:
    """Return the module of the keywords by which users give a policy."""
    found = fields_written()
    head = HEADER.format(doc=KEYWORDS)
    text = (
        head
        + "from collections.abc import Mapping\nfrom typing import Final, TypedDict\n\n"
        + kinds_used(found)
    )
    classes: tuple[tuple[str, str, str, Callable[[Field], bool]], ...] = (
        (
            "FurtherFields",
            "TypedDict",
            "The fields of a policy that are given by name only; see `Policy`.",
            lambda field: field.name not in POSITIONAL,
        ),
        (
            "PolicyFields",
            "FurtherFields",
            "All fields of a policy; see `Policy`.",
            lambda field: field.name in POSITIONAL,
        ),
    )
    for name, base, doc, belongs in classes:
        text += f'\n\nclass {name}({base}, total=False):\n    """{doc}"""\n'
        for field in filter(belongs, found):
            of = f"{field.type} | None" if field.optional else field.type
            text += f"\n    {field.name}: {of}\n{docstring(field.doc, '    ')}\n"
    text += "\n\nMEANINGS: Final[Mapping[str, str]] = {\n"
    for field in found:
        whole = len(field.name) + len(json.dumps(field.doc)) + 8 <= 100  # as ruff has it
        first, *rest = textwrap.wrap(field.doc, 1000 if whole else 68)
        parts = [first, *(" " + line for line in rest)]
        text += f'    "{field.name}": ' + "\n    ".join(map(json.dumps, parts)) + ",\n"
    return text + '}\n"""The same at run time, when the docstrings of fields are lost."""\n'


def settings_fields() -> str:
    """Return the module of the fields that settings have."""
    found = fields_written()
    head = HEADER.format(doc=SETTINGS)
    text = head + "from pydantic import BaseModel\n\n"
    text += kinds_used(found).replace("supervisor.policy.kinds", "supervisor.policy")
    text += f'\n\nclass FieldsOfAll(BaseModel):\n    """{OF_ALL}"""\n\n'
    for field in found:
        of = f"{field.type} | None" if field.optional else field.type
        text += f"    {field.name}: {of} = {field.default}\n"
    text += f'\n\nclass FieldsOfOne(BaseModel):\n    """{OF_ONE}"""\n\n'
    for field in found:
        text += f"    {field.name}: {field.type} | None = None\n"
    return text


def policy_rows(names: Callable[[str], bool]) -> str:
    """Return the table of some fields for documents."""
    rows = ["| Field | Default | Range | Meaning |", "|---|---|---|---|"]
    for field in filter(lambda field: names(field.name), fields_written()):
        default = getattr(Policy(), field.name)
        shown = default.__name__ if isinstance(default, type) else repr(default)
        rows.append(f"| `{field.name}` | `{shown}` | {range_of(field, 'None')} | {field.doc} |")
    return "\n".join(rows)


PARTS: Final[Mapping[str, str]] = {
    "when it opens": "failure_threshold window_calls window_seconds failure_rate minimum_calls"
    " failures_in_a_row slow_call_duration slow_call_rate warm_up",
    "what counts": "failure_on ignore failure_on_result failure_on_cancel classify timeout"
    " keep_failures",
    "how long it stays open": "recovery_timeout recovery_schedule recovery_factor"
    " max_recovery_timeout"
    " recovery_jitter recovery_from max_retry_after",
    "how it returns": "success_threshold probe_timeout probes probe_failure_rate probes_at_once"
    " half_open_timeout ramp ramp_start",
    "how much load it lets through": "throttle throttle_seconds throttle_floor retry_budget"
    " retry_budget_seconds retry_budget_minimum",
    "where it begins": "initial_state",
}
"""Which fields the parts of a policy have, in the documents."""


def variable_rows(names: Callable[[str], bool], with_meaning: bool) -> str:
    """Return the table of the variables that set some fields, for documents."""
    head = ["Variable", "Default", "Range", *(["Meaning"] if with_meaning else [])]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for field in filter(lambda field: names(field.name), fields_written()):
        default = written(getattr(Policy(), field.name))
        cells = [f"`BINDU_CB_{field.name.upper()}`", f"`{default}`", range_of(field, "none")]
        rows.append("| " + " | ".join([*cells, *([field.doc] if with_meaning else [])]) + " |")
    return "\n".join(rows)


def client_rows() -> str:
    """Return the table of the clients that are known to retries, for documents."""
    rows = ["| Client | Worth another try | By the answer | Not worth it |", "|---|---|---|---|"]
    for client in CLIENTS:
        kinds = [
            ", ".join(f"`{name}`" for name in names)
            for names in (client.lost, client.asked, client.hopeless)
        ]
        lost, asked, hopeless = (names or "–" for names in kinds)  # noqa: RUF001
        when = f": {client.when}" if client.when else ""
        rows.append(f"| {client.name} | {lost} | {asked}{when} | {hopeless} |")
    return "\n".join(rows)


def range_of(field: Field, none: str) -> str:
    """Return what a field may be, in words."""
    return KINDS[field.name].range + (f", or {none}" if field.optional else "")


_TABLE: Final = re.compile(
    r"(<!-- (policy-table|variables|variables with their meaning|clients): (.+?) -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


def with_tables(text: str) -> str:
    """Return a document with its tables of fields as they are to be."""

    def table(found: re.Match[str]) -> str:
        if found[2] == "clients":
            return f"{found[1]}\n{client_rows()}\n\n{found[4]}"
        part = " ".join(PARTS.values()) if found[3] == "everything" else PARTS[found[3]]
        names = part.split().__contains__
        if found[2] == "policy-table":
            rows = policy_rows(names)
        else:
            rows = variable_rows(names, with_meaning=found[2] != "variables")
        return f"{found[1]}\n{rows}\n\n{found[4]}"

    return _TABLE.sub(table, text)


def generated() -> dict[Path, str]:
    """Return each generated file, and what is to be in it."""
    modules = {
        ROOT / "supervisor" / "policy" / "keywords.py": keywords(),
        ROOT / "supervisor" / "settings" / "fields.py": settings_fields(),
    }
    return modules | {path: with_tables(path.read_text(encoding="utf-8")) for path in DOCUMENTS}


def main() -> int:
    """Write what is not as it is to be."""
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
