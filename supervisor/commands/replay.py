"""What a recorded circuit did, and why: `python -m supervisor replay FILE`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from supervisor.commands.ending import UNUSABLE
from supervisor.commands.texts import printable
from supervisor.machine import Change, Machine, Reconfigured, Told
from supervisor.policy import Policy
from supervisor.recording import Replay, needed, replay_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the `replay` command."""
    parser.add_argument("file", help="what `Recording.write` has written")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what a recording comes to; 0 if that agrees with what was recorded."""
    try:
        replay = replay_file(arguments.file)
    except (OSError, ValueError) as error:  # no recording, or no name of a file
        print(printable(f"{arguments.file}: {error}"), file=sys.stderr)
        return UNUSABLE
    print(*map(printable, report(replay)), sep="\n")
    return 0 if replay.agrees else 1


def report(replay: Replay) -> list[str]:
    """Return lines for people."""
    machine = replay.machine
    span = f"{replay.began:,.3f} s to {machine.latest:,.3f} s by its event loop's clock"
    lines = [f"circuit {replay.circuit!r}: {replay.messages:,} messages, {span}"]
    lines += _date_of(replay.clock_zero)
    lines += [_line(change) for change in replay.transitions]
    lines.append(_figures(machine))
    if replay.agrees:
        lines.append("every transition is as it was recorded")
    else:
        pairs = list(zip(replay.transitions, replay.recorded, strict=False))
        same = next((i for i, (now, then) in enumerate(pairs) if now != then), len(pairs))
        lines.append(f"not what was recorded, from transition {same + 1} on; it was:")
        lines += [_line(change) for change in replay.recorded[same:]]
    return lines


def _date_of(zero: float) -> list[str]:
    """Return the line that tells when that clock was at 0, unless there is no such date."""
    try:
        return [f"time 0 was {datetime.fromtimestamp(zero, UTC):%Y-%m-%d at %H:%M:%S} UTC"]
    except (OSError, OverflowError, ValueError):
        return []


def _line(change: Told) -> str:
    if not isinstance(change, Change):
        return f"{'':>17}the fleet is told: {change}"
    at = f"{change.at:14,.3f} s "
    if isinstance(change, Reconfigured):
        return f"{at} policy: {_told(change.policy)}"
    because = "" if change.last_failure is None else f"  {change.last_failure}"
    return (
        f"{at} {change.from_state.value:>13} -> {change.to_state.value:13}"
        f"  period {change.period}, {change.failure_count} failures"
        f"{', metrics only' if change.metrics_only else ''}{because}"
    ).rstrip()


def _told(policy: Policy) -> str:
    """Return what sets a policy apart from the default one."""
    default = needed(Policy())
    own = {name: value for name, value in needed(policy).items() if value != default[name]}
    return ", ".join(f"{name}={value!r}" for name, value in own.items()) or "the default one"


def _figures(machine: Machine) -> str:
    policy = machine.policy
    in_a_row = policy.window_calls is None and policy.window_seconds is None
    measured = (
        f" (would be {machine.would_be.value}, and have refused {machine.would_have_refused:,})"
        if machine.metrics_only
        else ""
    )
    return (
        f"at the end: {machine.state.value}{measured},"
        f" {machine.failure_count} failures in {'a row' if in_a_row else 'the window'};"
        f" in all {machine.succeeded:,} succeeded, {machine.failed:,} failed,"
        f" {machine.ignored:,} ignored, {machine.cancelled:,} cancelled, {machine.stale:,} of them"
        f" too late to count; opened {machine.times_opened:,} times"
    )
