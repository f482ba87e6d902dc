"""The command line: `python -m supervisor COMMAND`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from supervisor.commands import check, replay
from supervisor.commands.demo import command as demo
from supervisor.commands.simulate import command as simulation


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status.

    Each command adds its own arguments, and sets `run`, a function that gets them parsed.
    """
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
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
