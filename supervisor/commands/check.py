"""The policies that circuits get, and why: `python -m supervisor check`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supervisor.arguments import check_name
from supervisor.commands.ending import UNUSABLE
from supervisor.commands.risks import explained, risks, risks_of_retries
from supervisor.commands.texts import printable
from supervisor.settings import (
    SWITCHES,
    CircuitBreakerSettings,
    RetrySettings,
    Setting,
    is_pattern,
    whole_names,
    written,
)
from supervisor.supervision import sharing_by

BASIC: Final = ("failure_threshold", "recovery_timeout", "success_threshold", "probe_timeout")
"""Fields that every circuit uses."""

RISKY: Final = 3
"""The exit status of warnings, if it is asked for."""

WHO_READS: Final = (
    "These settings are for circuits of the decorators, get_circuit_breaker and"
    " CircuitBreaker.from_settings(name); CircuitBreaker(name) has what its arguments say."
)

Row = tuple[str, str, str]


@dataclass(frozen=True)
class Block:
    """What is reported of one circuit, of a family, or of all that have no settings of their own.

    Attributes:
        title: what it is about.
        name: the circuit or the pattern; None: all others.
        fields: each field of the policy, and where it comes from.
        meaning: what the policy does, in one sentence.
        warnings: what is risky about it.
    """

    title: str
    name: str | None
    fields: dict[str, Setting]
    meaning: str
    warnings: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the `check` command."""
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="a circuit; without any, all that have settings"
    )
    parser.add_argument("--file", type=Path, help="a TOML file, in the place of BINDU_CB_FILE")
    parser.add_argument(
        "--all", action="store_true", help="show the fields that have their default, too"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")
    parser.add_argument(
        "--strict", action="store_true", help=f"exit with {RISKY} if there are warnings"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print policies; 2 if there is a mistake in the settings or names, or an extra is missing."""
    given = {} if arguments.file is None else {"file": arguments.file}
    try:
        settings, retries = CircuitBreakerSettings(**given), RetrySettings()
        blocks = _blocks(settings, [check_name(name) for name in arguments.names])
        sharing_by(settings)
    except (ValueError, ModuleNotFoundError) as error:
        print(printable(str(error)), file=sys.stderr)
        return UNUSABLE
    of_retries = risks_of_retries(retries, settings.policy())
    if arguments.json:
        print(json.dumps(_for_machines(settings, retries, blocks, of_retries), indent=2))
    else:
        print(*report(settings, retries, blocks, of_retries, arguments.all), sep="\n")
    warned = of_retries or any(block.warnings for block in blocks)
    return RISKY if warned and arguments.strict else 0


def _blocks(settings: CircuitBreakerSettings, names: Sequence[str]) -> list[Block]:
    """Return what there is to report; it imports what the settings name.

    Raises:
        SettingsError: something cannot be imported, or values do not go together.
    """
    for key in settings.circuits:
        settings.policy(key)
    names = names or whole_names(settings.circuits)
    blocks: list[Block] = []
    for name in (None, *names):
        policy = settings.policy(name)
        title = "every other circuit" if names else "every circuit"
        if name is not None:
            title = f"{'circuits' if is_pattern(name) else 'circuit'} {name}"
        fields = settings.explain(name)
        blocks.append(Block(title, name, fields, explained(policy), risks(policy)))
    return blocks


def report(
    settings: CircuitBreakerSettings,
    retries: RetrySettings,
    blocks: Sequence[Block],
    of_retries: Sequence[str],
    everything: bool = False,
) -> list[str]:
    """Return lines for people: the policy of each circuit, and where each value comes from.

    Args:
        settings, retries: what to report.
        blocks: what there is to say of circuits.
        of_retries: warnings about retries.
        everything: whether to show the fields that have their default, too.
    """
    switches = {field: settings.setting(field) for field in SWITCHES}
    of_all = [
        _row(field, setting)
        for field, setting in switches.items()
        if everything or field == "enabled" or setting.given
    ]
    tables = [(block, _rows(block.fields, everything)) for block in blocks]
    retry_rows = _retry_rows(retries, everything)
    widths = _widths([*of_all, *(row for _, rows in tables for row in rows)])
    lines = [_line(row, widths) for row in of_all]
    for block, rows in tables:
        lines += ["", block.title, *(_line(row, widths) for row in rows)]
        lines += [f"  = {block.meaning}", *_warnings(block.warnings)]
    if retry_rows:  # of all warnings about them, at least one value is given
        widths = _widths(retry_rows)
        lines += ["", "retries", *(_line(row, widths) for row in retry_rows)]
    lines += _warnings(of_retries)
    return [*lines, "", WHO_READS]


def _for_machines(
    settings: CircuitBreakerSettings,
    retries: RetrySettings,
    blocks: Sequence[Block],
    of_retries: Sequence[str],
) -> dict[str, Any]:
    return {
        "settings": {field: _told(settings.setting(field)) for field in SWITCHES},
        "circuits": [
            {
                "name": block.name,
                "meaning": block.meaning,
                "warnings": block.warnings,
                "fields": {field: _told(setting) for field, setting in block.fields.items()},
            }
            for block in blocks
        ],
        "retries": {"warnings": [*of_retries], "fields": retries.model_dump()},
    }


def _told(setting: Setting) -> dict[str, Any]:
    value = setting.value
    plain = value is None or isinstance(value, bool | int | float | str)
    return {"value": value if plain else written(value), "origin": str(setting.origin)}


def _rows(policy: dict[str, Setting], everything: bool) -> list[Row]:
    return [
        _row(f"  {field}", setting)
        for field, setting in policy.items()
        if everything or field in BASIC or setting.given
    ]


def _retry_rows(retries: RetrySettings, everything: bool) -> list[Row]:
    return [
        (
            f"  {field}",
            written(value),
            retries.variable(field) if field in retries.model_fields_set else "default",
        )
        for field, value in retries.model_dump().items()
        if everything or field in retries.model_fields_set
    ]


def _row(field: str, setting: Setting) -> Row:
    return field, printable(written(setting.value)), printable(str(setting.origin))


def _warnings(warnings: Iterable[str]) -> list[str]:
    return [f"  warning: {warning}" for warning in warnings]


def _widths(rows: Iterable[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _line(row: Row, widths: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
