"""The policies that circuits get, and why: `python -m supervisor check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from supervisor.settings import CircuitBreakerSettings, Setting, SettingsError, spelt, written

BASIC: Final = ("failure_threshold", "recovery_timeout", "success_threshold", "probe_timeout")
"""Fields that every circuit uses."""

Row = tuple[str, str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the `check` command."""
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="a circuit; without any, all that have settings"
    )
    parser.add_argument("--file", help="a TOML file, in the place of BINDU_CB_FILE")
    parser.add_argument(
        "--all", action="store_true", help="show the fields that have their default, too"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print policies; 2 if there is a mistake in the settings."""
    given = {} if arguments.file is None else {"file": arguments.file}
    try:
        settings = CircuitBreakerSettings(**given)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    print(*report(settings, arguments.names, arguments.all), sep="\n")
    return 0


def report(
    settings: CircuitBreakerSettings, names: Sequence[str] = (), everything: bool = False
) -> list[str]:
    """Return lines for people: the policy of each circuit, and where each value comes from.

    Args:
        settings: what to report.
        names: circuits; without any, all that have settings of their own.
        everything: whether to show the fields that have their default, too.
    """
    names = names or named(settings)
    blocks: list[tuple[str, list[Row]]] = [
        ("every other circuit" if names else "every circuit", _rows(settings.explain(), everything))
    ]
    blocks += [(f"circuit {name}", _rows(settings.explain(name), everything)) for name in names]
    switch = _row("enabled", settings.setting("enabled"))
    widths = _widths([switch, *(row for _, rows in blocks for row in rows)])
    lines = [_line(switch, widths)]
    for title, rows in blocks:
        lines += ["", title, *(_line(row, widths) for row in rows)]
    return lines


def named(settings: CircuitBreakerSettings) -> list[str]:
    """Return the circuits that have settings of their own.

    A variable tells only how a name is spelt. If the whole name stands elsewhere, that is it.
    """
    whole = {spelt(name) for name in settings.circuits if name != spelt(name)}
    return sorted(name for name in settings.circuits if name not in whole or name != spelt(name))


def _rows(policy: dict[str, Setting], everything: bool) -> list[Row]:
    return [
        _row(f"  {field}", setting)
        for field, setting in policy.items()
        if everything or field in BASIC or setting.given
    ]


def _row(field: str, setting: Setting) -> Row:
    return field, written(setting.value), str(setting.origin)


def _widths(rows: Iterable[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _line(row: Row, widths: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
