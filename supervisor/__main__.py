"""The command line: `python -m supervisor COMMAND`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from supervisor.commands import check, replay
from supervisor.commands.demo import command as demo
from supervisor.commands.ending import ended
from supervisor.commands.fleet import command as fleet
from supervisor.commands.simulate import command as simulation
from supervisor.commands.top import command as top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status."""
    return ended(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    """Run it: each command adds its own arguments, and sets `run`, which gets them parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m supervisor", description="Circuit breakers as actors."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    demo.add_arguments(commands.add_parser("demo", help="a dead server, with and without circuits"))
    replay.add_arguments(commands.add_parser("replay", help="what a recorded circuit did, and why"))
    check.add_arguments(commands.add_parser("check", help="the policy of each circuit, and why"))
    simulation.add_arguments(
        commands.add_parser("simulate", help="what policies would do on a trace of calls")
    )
    top.add_arguments(commands.add_parser("top", help="the circuits of running processes, live"))
    fleet.add_arguments(
        commands.add_parser("fleet", help="who shares circuits through a store, and how they stand")
    )
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
