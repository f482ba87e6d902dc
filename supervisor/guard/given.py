"""The arguments of a call, for functions of its policy's that are given them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from supervisor.circuit import Circuit, Ticket
from supervisor.policy import Arguments, Policy, judging_by, takes_arguments


class RunFor(partial[Any]):
    """Runs what stands for a function, as a loop of attempts does.

    Attributes:
        arguments: those of that function.
    """

    arguments: Arguments


def run_for(made: partial[Any], run: Callable[..., Any], *args: Any) -> RunFor:
    """Return what calls `run(*args)` for a function that `made` would call."""
    running = RunFor(run, *args)
    running.arguments = arguments_of(made, (), {})
    return running


def judge_of(
    circuit: Circuit, ticket: Ticket, func: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Policy | None:
    """Return by which policy a call is judged, if it has one of its own."""
    if circuit.allowance is None or not circuit.allowance.limits_time:
        return None
    policy = circuit.grant_of(ticket).policy
    if not takes_arguments(policy):
        return None
    return judging_by(policy, arguments_of(func, args, kwargs))


def judging(policy: Policy, run: Callable[[], Any]) -> Policy:
    """Return by which policy a call is judged that is made by `run`."""
    return judging_by(policy, arguments_of(run, (), {})) if takes_arguments(policy) else policy


def arguments_of(func: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Return what the function in the end is given, those of a `functools.partial` included."""
    while isinstance(func, partial):
        if isinstance(func, RunFor):
            return func.arguments
        args, kwargs, func = (*func.args, *args), {**func.keywords, **kwargs}, func.func
    return args, kwargs
