"""The sub-command's arguments, and how it ends."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from supervisor.arguments import shown
from supervisor.commands.ending import UNUSABLE
from supervisor.commands.extra import advice
from supervisor.commands.readers import number, whole_number
from supervisor.commands.simulate.course import Course, SimulationError
from supervisor.commands.simulate.player import play
from supervisor.commands.simulate.report import marks_for, report
from supervisor.commands.simulate.scenarios import SCENARIOS, Load, generate
from supervisor.policy import Policy
from supervisor.recording import (
    COLUMNS,
    LATEST,
    NEEDED,
    OUTCOMES,
    Trace,
    TraceError,
    read_trace,
    write_trace,
)
from supervisor.settings import SettingsError, SettingsOfFile, whole_names

MOST_CALLS: Final = 1_000_000
MOST_RETRIES: Final = 10
MOST_NAMES: Final = 20

MOST_DRAWN: Final = 100
"""Policies in one picture, which is 5 m high then."""

ALONE: Final = "every circuit"
"""What the policy of a file is called that names no circuit."""

PICTURES: Final = (".svg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate`, and what runs it."""
    parser.epilog = (
        "TRACE.csv has a header, a line for each call, and these columns, of which"
        f" {', '.join(NEEDED)} are needed: {', '.join(COLUMNS)}."
        " Times are seconds; a duration may be inf, for a call that never ends; an outcome is"
        f" {', '.join(OUTCOMES)}."
    )
    add = parser.add_argument
    add(
        "policy",
        metavar="POLICY.toml",
        type=Path,
        help="settings; each circuit in it is a policy to play",
    )
    add(
        "traces",
        metavar="TRACE.csv",
        nargs="*",
        default=(),  # or argparse asks for traces where POLICY.toml alone is missing
        type=Path,
        help="calls: at, outcome, duration ...; several files are one trace, and may be compressed",
    )
    add("--circuit", metavar="NAME", help="the circuit whose calls are played, if there are others")
    add(
        "--compare",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="another file of policies, which are called by its name",
    )
    _add_generation(parser)
    add(
        "--plain",
        action="append",
        default=[],
        metavar="NAME",
        help="a policy whose callers tell no kinds of failures, and do not wait",
    )
    add("--picture", type=_picture, metavar="FILE", help="draw it, too, as SVG or PNG")
    parser.set_defaults(run=run)


def _add_generation(parser: argparse.ArgumentParser) -> None:
    """Add what is for a trace that is made up."""
    add = parser.add_argument
    scenarios = ", ".join(SCENARIOS)
    add(
        "--generate",
        type=_scenario,
        metavar="SCENARIO[:SEED]",
        help=f"make up a trace instead: {scenarios}",
    )
    add("--rate", type=_positive, metavar="N", help="of it: first attempts per second (20)")
    add("--length", type=_length, metavar="S", help="of it: seconds (120)")
    add(
        "--retries",
        type=whole_number(0, MOST_RETRIES),
        metavar="N",
        help="of it: retries of a failed call (0)",
    )
    add("--wait", type=_positive, metavar="S", help="of it: seconds that calls wait (0)")
    add("--write-trace", type=Path, metavar="CSV", help="of it: the file to keep it in")


def run(arguments: argparse.Namespace) -> int:
    """Print what each policy would have done; 2 if something is wrong with what is given."""
    try:
        policies = _policies(arguments.policy, arguments.compare)
        trace = _trace(arguments)
        courses = _courses(policies, trace, arguments.plain)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        for line in report(trace, courses, marks_for(encoding)):
            print(line.encode(encoding, "backslashreplace").decode(encoding))
        if arguments.picture is not None:
            _draw(trace, courses, arguments.picture)
    except BrokenPipeError:
        raise  # which is no error
    except (SettingsError, SimulationError, TraceError, OSError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
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
    if (not arguments.traces) == (arguments.generate is None):
        raise SimulationError("give either TRACE.csv or --generate SCENARIO")
    if arguments.generate is None:
        if given or arguments.write_trace is not None:
            option = next(iter(given), "write-trace")
            raise SimulationError(f"--{option} is for a trace that is made up with --generate")
        return _of_one_circuit(read_trace(*arguments.traces), arguments.circuit)
    if arguments.circuit is not None:
        raise SimulationError("--circuit is for a trace that is read")
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


def _of_one_circuit(trace: Trace, name: str | None) -> Trace:
    """Return the calls of one circuit, which has to be named if there are several.

    Raises:
        SimulationError: it is not named, or not there.
    """
    names = sorted({call.circuit for call in trace.calls})
    if name is None and len(names) == 1:
        return trace
    if name not in names:
        raise SimulationError(
            f"{'' if name is None else f'--circuit {shown(name)}: '}{trace.title} has calls of"
            f" {', '.join(each or 'no name' for each in names[:MOST_NAMES])}"
            f"{' and others' if len(names) > MOST_NAMES else ''}; choose by --circuit NAME"
        )
    calls = tuple(call for call in trace.calls if call.circuit == name)
    return replace(trace, title=f"{trace.title}, {name}", calls=calls)


def _policies(first: Path, others: Sequence[str]) -> dict[str, Policy]:
    """Return what is to be played, by name, in the order of the files.

    Raises:
        SettingsError: a file has a mistake in it.
        SimulationError: two of them have the same name.
    """
    found = _policies_in(first)
    for given in others:
        name, equals, path = given.partition("=")
        file = Path(path if equals else given)
        name = name if equals else file.stem
        for own, policy in _policies_in(file).items():
            called = name if own == ALONE else f"{name}: {own}"
            if called in found:
                raise SimulationError(
                    f"--compare {given}: there is a policy {shown(called)} already"
                )
            found[called] = policy
    return found


def _policies_in(file: Path) -> dict[str, Policy]:
    settings = SettingsOfFile(file)
    own = set(whole_names(settings.circuits))
    names = [name for name in settings.circuits if name in own] or [ALONE]
    return {name: settings.policy(name) for name in names}


def _courses(policies: Mapping[str, Policy], trace: Trace, plain: Sequence[str]) -> list[Course]:
    """Return what each policy would have done.

    Raises:
        SimulationError: there is no policy of a name, or it cannot be played.
    """
    for name in plain:
        if name not in policies:
            raise SimulationError(f"--plain {shown(name)}: there are {', '.join(policies)}")
    return [play(name, policy, trace, name in plain) for name, policy in policies.items()]


def _draw(trace: Trace, courses: Sequence[Course], file: Path) -> None:
    if len(courses) > MOST_DRAWN:
        raise SimulationError(
            f"--picture has room for {MOST_DRAWN} policies, and there are {len(courses):,}"
        )
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
    value = number(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return value


def _length(text: str) -> float:
    value = _positive(text)
    if value > LATEST:  # there could be times that no trace may have
        raise argparse.ArgumentTypeError(f"{text!r} is more than {LATEST:g}")
    return value


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a file that ends in .svg or .png")
    return path
