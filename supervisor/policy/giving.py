"""How users give a policy: as one, by its fields, or as one with other fields in their place."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from supervisor.arguments import check_known, shown
from supervisor.policy.policy import KINDS, OPTIONAL, Policy, fields_of


class _Default(Enum):
    """What an argument that was left out is; a copy of it is the same."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final[Any] = _Default.DEFAULT
"""Stands for a field that is left out: it is that of the given policy, or else its default."""


@functools.lru_cache(maxsize=1024, typed=True)
def _shared(**given: Any) -> Policy:
    return Policy(**given)


def given_policy(
    caller: str, policy: Policy | None, given: Mapping[str, Any], others: Sequence[str] = ()
) -> Policy:
    """Return the policy that somebody has given; the same one for the same few numbers, so that
    many circuits share its memory.

    Args:
        caller: what the user has called, for errors.
        policy: the policy whose fields count if they are not given; None: the default one.
        given: fields, but for those that are `DEFAULT`.
        others: what else the caller takes by name.

    Raises:
        TypeError, ValueError: a field is unknown, of the wrong type or out of range.
    """
    check_known(caller, given, KINDS, others)
    given = {field: value for field, value in given.items() if value is not DEFAULT}
    if policy is not None:
        check_policy_type(policy)
        if not given:
            return policy
        given = {**fields_of(policy), **given}
    plain = all(type(value) in (int, float, type(None)) for value in given.values())
    return _shared(**given) if plain else Policy(**given)


def check_given(
    caller: str, policy: Policy | None, given: Mapping[str, Any], others: Sequence[str] = ()
) -> None:
    """Refuse what cannot be right, whatever the settings say that count for what is not given.

    Raises:
        TypeError, ValueError: see `given_policy`.
    """
    if policy is not None:
        given_policy(caller, policy, given, others)
        return
    check_known(caller, given, KINDS, others)
    for field, value in given.items():
        if value is not None or field not in OPTIONAL:
            KINDS[field].check(field, value)


def check_policy_type(policy: object) -> None:
    """Refuse what is no policy."""
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a Policy, got {shown(policy)}")
