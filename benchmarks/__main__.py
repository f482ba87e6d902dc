"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.behaviours import behaviours
from benchmarks.cases import CASES, GROUPS, Case
from benchmarks.charts import draw
from benchmarks.contestants import PEERS, Contestant, contestants
from benchmarks.goals import Results, verdicts
from benchmarks.measure import (
    BACKENDS,
    FULL,
    QUICK,
    Backend,
    Bench,
    Plan,
    Row,
    quiet,
    rows,
    worn_heap,
)
from benchmarks.report import Behaviours, Run, behaviour_table, goal_table, table, write

QUICK_PEERS: Final = ("circuitbreaker", "purgatory", "interlock-cb", "keel-circuit-breaker")
"""Peers that a short run has time for: much used ones, cheap ones, and correct ones."""

NEEDED: Final = ("bare", "lock", "anyio-lock", "inline")
"""What the others are compared to, and so takes part whoever else is asked for."""

OUTPUT: Final = Path(__file__).parent / "results"

Tell = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite as the arguments say, and return the exit status."""
    everybody = contestants()
    arguments = _parser(list(everybody)).parse_args(argv)
    plan = QUICK if arguments.quick else FULL
    backends = _available(arguments.backend or list(BACKENDS))
    chosen = _chosen(everybody, arguments.contestant, arguments.quick)
    cases = [
        case
        for case in CASES
        if (case.quick or not arguments.quick)
        and (not arguments.case or case.group in arguments.case or case.name in arguments.case)
    ]
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with quiet(), worn_heap():
        found = measured(plan, backends, chosen, cases)
    behaved = {} if arguments.case else _behaviours(chosen)
    seen = verdicts(Results(found), backends)
    full = plan is FULL and is_full(backends, chosen, cases)
    run = Run(plan, backends, cases, found, seen, behaved, time.monotonic() - began, full)
    _, tables = write(run, arguments.output)
    files = draw(found, backends, arguments.output)
    _print(run)
    print(f"\n{run.seconds:.0f} s; tables in {tables}, and {len(files)} charts beside them")
    return 0


def measured(
    plan: Plan,
    backends: Sequence[Backend],
    chosen: dict[str, Contestant],
    cases: Sequence[Case],
) -> list[Row]:
    """Measure every case on every backend."""
    found: list[Row] = []
    with progress(len(backends) * len(cases)) as tell:
        for backend in backends:
            here = {name: one for name, one in chosen.items() if backend in one.backends}
            bench = Bench(backend, plan, here)
            for case in cases:
                tell(f"{backend}: {case.title}")
                found += rows(backend, case.name, bench.run(case.measure), case.whole)
    return found


def is_full(
    backends: Sequence[Backend], chosen: dict[str, Contestant], cases: Sequence[Case]
) -> bool:
    """Return whether nothing is left out, be it by the arguments or because it is not there."""
    own = {name for name, one in contestants().items() if one.kind != "peer"}
    peers = chosen.keys() - own
    everybody = own <= chosen.keys() and len(peers) == len(PEERS)
    return everybody and set(backends) == set(BACKENDS) and list(cases) == list(CASES)


@contextmanager
def progress(steps: int) -> Iterator[Tell]:
    """Show what is measured now: as a bar on a terminal, and as plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        began, step = time.monotonic(), 0

        def line(text: str) -> None:
            nonlocal step
            step += 1
            seconds = time.monotonic() - began
            print(f"{step:3}/{steps} {seconds:5.0f} s  {text}", file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    # Refreshed by hand: a thread that draws would take the interpreter from what is measured.
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=steps, completed=-1)

        def move(text: str) -> None:
            bar.update(task, advance=1, description=text, refresh=True)

        yield move
        bar.update(task, completed=steps, description="done", refresh=True)


def _print(run: Run) -> None:
    """Print one table for each case and backend, then behaviours, and the goals at the end."""
    for case in run.cases:
        for backend in run.backends:
            here = [row for row in run.rows if (row.case, row.backend) == (case.name, backend)]
            if here:
                print(f"\n{case.title}: {backend}\n\n{table(here, case.whole)}")
    if run.behaviours:
        print(f"\nBehaviour\n\n{behaviour_table(run.behaviours)}")
    print(f"\nGoals\n\n{goal_table(run.verdicts)}")


def _behaviours(chosen: dict[str, Contestant]) -> Behaviours:
    """Return what ours and the peers do when it matters."""
    print("behaviour of all of them", file=sys.stderr, flush=True)
    asked = ("lock", "call")
    return behaviours([name for name, one in chosen.items() if name in asked or one.kind == "peer"])


def _available(backends: Sequence[Backend]) -> list[Backend]:
    """Return the backends without uvloop where that is not installed."""
    found = []
    for backend in dict.fromkeys(backends):
        if backend == "uvloop" and importlib.util.find_spec("uvloop") is None:
            print("uvloop is not installed: left out", file=sys.stderr)
        else:
            found.append(backend)
    return found


def _chosen(
    everybody: dict[str, Contestant], names: Sequence[str] | None, quick: bool
) -> dict[str, Contestant]:
    if names:
        return {name: one for name, one in everybody.items() if name in {*NEEDED, *names}}
    return {
        name: one
        for name, one in everybody.items()
        if not quick or one.kind != "peer" or name in QUICK_PEERS
    }


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure circuit breakers."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="at most a minute, instead of ten")
    add("--backend", nargs="+", choices=BACKENDS, help="the event loops; all by default")
    add("--contestant", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    cases = list(dict.fromkeys([*GROUPS, *(case.name for case in CASES)]))
    add("--case", nargs="+", choices=cases, metavar="NAME", help=", ".join(cases))
    add("--output", type=Path, default=OUTPUT, metavar="DIR", help="where the results go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
