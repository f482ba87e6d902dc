"""How users give a policy: as one, by its fields, or as one with other fields in their place."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from supervisor.arguments import shown
from supervisor.policy.policy import KINDS, Policy, fields_of


class _Default:
    """What an argument that was left out is."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final[Any] = _Default()
"""Stands for a field that is left out: it is that of the given policy, or else its default."""


@functools.lru_cache(maxsize=1024, typed=True)
def _shared(**given: Any) -> Policy:
    return Policy(**given)


def given_policy(caller: str, policy: Policy | None, given: Mapping[str, Any]) -> Policy:
    """Return the policy that somebody has given: the same one for many circuits, which share its
    memory.

    Args:
        caller: what the user has called, for errors.
        policy: the policy whose fields count if they are not given; None: the default one.
        given: fields, but for those that are `DEFAULT`.

    Raises:
        TypeError, ValueError: a field is unknown, of the wrong type or out of range.
    """
    check_fields(caller, given)
    given = {field: value for field, value in given.items() if value is not DEFAULT}
    if policy is not None:
        check_policy_type(policy)
        if not given:
            return policy
        given = {**fields_of(policy), **given}
    plain = all(type(value) in (int, float, type(None)) for value in given.values())
    return _shared(**given) if plain else Policy(**given)


def check_policy_type(policy: object) -> None:
    """Refuse what is no policy."""
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a Policy, got {shown(policy)}")


def check_fields(caller: str, given: Mapping[str, Any], others: Sequence[str] = ()) -> None:
    """Refuse what is neither a field of a policy nor one of `others`, and say what is nearest.

    Raises:
        TypeError: it names what the user has called, the argument and its value.
    """
    known = (*others, *KINDS)
    for field, value in given.items():
        if field not in known:
            likely = difflib.get_close_matches(field, known, n=1)
            hint = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known)}"
            raise TypeError(f"{caller}() got an unexpected argument {field}={shown(value)}; {hint}")
