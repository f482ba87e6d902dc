"""The command line: `python -m benchmarks.fleet`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.fleet.crew import crew
from benchmarks.fleet.experiments import EXPERIMENTS, FULL, ON_TRIO, QUICK, Experiments, Plan
from benchmarks.fleet.report import markdown
from benchmarks.fleet.server import running
from benchmarks.fleet.sharers import OURS, SHARERS, missing
from benchmarks.report import machine
from supervisor.commands.demo.fleet.store import find_program
from supervisor.commands.demo.plan import UnusableError


def main(argv: Sequence[str] | None = None) -> int:
    """Run all experiments, print what they show, and return the exit status."""
    arguments = _parser().parse_args(argv)
    plan = replace(QUICK if arguments.quick else FULL, processes=arguments.processes)
    lacking = {name: missing(name) for name in SHARERS}
    if lacking[OURS] or lacking["interlock-cb"] == "redis":
        print(f"needs {lacking[OURS] or 'redis'}: pip install it", file=sys.stderr)
        return 2
    try:
        program = find_program()
    except UnusableError as error:
        print(error, file=sys.stderr)
        return 2
    left_out = [
        f"Left out: {name}, since {what} is not there." for name, what in lacking.items() if what
    ]
    names = [name for name, what in lacking.items() if not what]
    names.insert(1, ON_TRIO)
    experiments = measured(plan, names, program, arguments.experiment)
    text = f"{machine()}. {markdown(experiments, plan, Path(program).name, left_out)}"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


def measured(plan: Plan, names: Sequence[str], program: str, chosen: Sequence[str]) -> Experiments:
    """Run these experiments."""
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        url = stack.enter_context(running(program))
        crews = {
            backend: stack.enter_context(crew(backend, plan.processes))
            for backend in ("asyncio", "trio")
        }
        experiments = Experiments(plan, names, program, crews, url)
        experiments.run(tell, chosen)
        return experiments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet", description="Measure circuits that processes share."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute or two, instead of ten")
    add("--processes", type=int, default=FULL.processes, metavar="N", help="that share a circuit")
    add("--experiment", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS, help="all by default")
    add("--output", type=Path, metavar="MD", help="a file for what is printed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
