"""Whether a circuit that there is already is the one that somebody asks for."""

from __future__ import annotations

from typing import Any

from supervisor.arguments import is_function, shown
from supervisor.circuit import Circuit
from supervisor.errors import PolicyConflictError


def check_policy(circuit: Circuit, asked: dict[str, Any]) -> None:
    """Refuse what the circuit neither goes by nor went by before it was reconfigured."""
    first = None if circuit.allowance is None else circuit.allowance.first_policy
    if first is not None and all(getattr(first, field) == asked[field] for field in asked):
        return
    policy = circuit.latest_policy
    for field, value in asked.items():
        has = getattr(policy, field)
        if has != value:
            raise PolicyConflictError(
                f"circuit {circuit.name!r} runs with {field}={shown(has)}, not {shown(value)};"
                f" {_advice(has, value)}"
            )


def _advice(has: object, asked: object) -> str:
    if is_function(has) and is_function(asked):
        return (
            "a lambda or a partial is another function each time it is made, and so is the method"
            " of another object: make the function once, outside the code that runs again and"
            " again, and give that one; or choose another name"
        )
    return "choose another name, or stop it first"
