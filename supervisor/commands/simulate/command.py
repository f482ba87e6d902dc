"""The sub-command's arguments, and how it ends."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from supervisor.arguments import check_name, shown
from supervisor.commands.check import named
from supervisor.commands.extra import advice
from supervisor.commands.simulate.course import Course, play
from supervisor.commands.simulate.report import marks_for, report
from supervisor.commands.simulate.scenarios import SCENARIOS, Load, generate
from supervisor.commands.simulate.trace import (
    COLUMNS,
    NEEDED,
    Trace,
    TraceError,
    read_trace,
    write_trace,
)
from supervisor.policy import Outcome
from supervisor.settings import CircuitBreakerSettings, SettingsError

MOST_CALLS: Final = 1_000_000
MOST_RETRIES: Final = 10

PICTURES: Final = (".svg", ".png")


class SimulationError(ValueError):
    """What was asked for does not go together, or cannot be done; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate`, and what runs it."""
    parser.epilog = (
        "TRACE.csv has a header, a line for each call, and these columns, of which"
        f" {', '.join(NEEDED)} are needed: {', '.join(COLUMNS)}."
        " Times are seconds; a duration may be inf, for a call that never ends; an outcome is"
        f" {', '.join(outcome.value for outcome in Outcome)}."
    )
    add = parser.add_argument
    add("policy", metavar="POLICY.toml", help="settings; each circuit in it is a policy to play")
    add("trace", metavar="TRACE.csv", nargs="?", type=Path, help="calls: at, outcome, duration ...")
    scenarios = ", ".join(SCENARIOS)
    add(
        "--generate",
        type=_scenario,
        metavar="SCENARIO[:SEED]",
        help=f"make up a trace instead: {scenarios}",
    )
    add("--rate", type=_positive, metavar="N", help="of it: first attempts per second (20)")
    add("--length", type=_positive, metavar="S", help="of it: seconds (120)")
    add("--retries", type=_retries, metavar="N", help="of it: retries of a failed call (0)")
    add("--wait", type=_positive, metavar="S", help="of it: seconds that calls wait (0)")
    add("--write-trace", type=Path, metavar="CSV", help="of it: the file to keep it in")
    add(
        "--plain",
        action="append",
        default=[],
        metavar="NAME",
        help="a policy whose callers tell no kinds of failures, and do not wait",
    )
    add("--picture", type=_picture, metavar="FILE", help="draw it, too, as SVG or PNG")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what each policy would have done; 2 if something is wrong with what is given."""
    try:
        settings = CircuitBreakerSettings(file=arguments.policy)
        trace = _trace(arguments)
        courses = _courses(settings, trace, arguments.plain)
        encoding = sys.stdout.encoding or "utf-8"
        for line in report(trace, courses, marks_for(encoding)):
            print(line.encode(encoding, "backslashreplace").decode(encoding))
        if arguments.picture is not None:
            _draw(trace, courses, arguments.picture)
    except (SettingsError, SimulationError, TraceError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _trace(arguments: argparse.Namespace) -> Trace:
    """Return the trace, read or made up.

    Raises:
        OSError: a file cannot be read or written.
        SimulationError: arguments do not go together.
        TraceError: a file is no trace, or there would be no call in it.
    """
    options = {name: getattr(arguments, name) for name in ("rate", "length", "retries", "wait")}
    given = {name: value for name, value in options.items() if value is not None}
    if (arguments.trace is None) == (arguments.generate is None):
        raise SimulationError("give either TRACE.csv or --generate SCENARIO")
    if arguments.generate is None:
        if given or arguments.write_trace is not None:
            option = next(iter(given), "write-trace")
            raise SimulationError(f"--{option} is for a trace that is made up with --generate")
        return read_trace(arguments.trace)
    load = Load(**given)
    if load.rate * load.length > MOST_CALLS:
        raise SimulationError(
            f"--rate {load.rate:g} for --length {load.length:g} is more than {MOST_CALLS:,} calls"
        )
    scenario, seed = arguments.generate
    trace = generate(scenario, seed, load)
    if arguments.write_trace is not None:
        write_trace(trace, arguments.write_trace)
    return trace


def _courses(settings: CircuitBreakerSettings, trace: Trace, plain: Sequence[str]) -> list[Course]:
    """Return what each policy would have done, in the order of the file.

    Raises:
        SimulationError: a policy has no name, or there is none of that name.
    """
    own = set(named(settings))
    names = [name for name in settings.circuits if name in own] or ["every circuit"]
    for name in plain:
        if name not in names:
            raise SimulationError(f"--plain {shown(name)}: there are {', '.join(names)}")
    try:
        policies = {check_name(name): settings.policy(name) for name in names}
    except ValueError as error:
        raise SimulationError(error) from None
    return [play(name, policy, trace, name in plain) for name, policy in policies.items()]


def _draw(trace: Trace, courses: Sequence[Course], file: Path) -> None:
    try:
        from supervisor.commands.simulate.picture import draw  # noqa: PLC0415  (it needs the extra)
    except ModuleNotFoundError as missing:
        raise SimulationError(advice("a picture", missing)) from None
    draw(trace, courses, file)


def _scenario(text: str) -> tuple[str, int]:
    name, colon, seed = text.partition(":")
    if name not in SCENARIOS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SCENARIOS)}")
    if colon and not seed.isdecimal():
        raise argparse.ArgumentTypeError(f"{seed!r} is not a whole number, 0 or more")
    return name, int(seed or 0)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return value


def _retries(text: str) -> int:
    if not (text.isdecimal() and int(text) <= MOST_RETRIES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MOST_RETRIES}")
    return int(text)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a file that ends in .svg or .png")
    return path
