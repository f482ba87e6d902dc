"""What ready-made guards add to a policy: servers' hints, and errors that count as nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard, cast

from supervisor import CircuitBreaker, Policy
from supervisor.retry import hint_of

LONGEST_HINT: Final = 3600.0
"""Seconds for which a server may ask at most, unless the policy says otherwise: an hour. A proxy's
mistake must not close a server off for years.
"""

Types = type[BaseException] | tuple[type[BaseException], ...]
Errors = Types | Callable[[BaseException], bool]
"""What a policy's `ignore` takes."""


def whole_policy(policy: Policy | None, **fields: Any) -> Policy:
    """Return a policy with the fields that go before its own.

    Raises:
        TypeError, ValueError: a field is unknown, of the wrong type or out of range.
    """
    return CircuitBreaker("whose policy is checked", policy=policy, **fields).policy


def with_hints(policy: Policy, nothing: Errors) -> Policy:
    """Let a server say for how long its circuit is open, and what is not about it be nothing."""
    return replace(
        policy,
        ignore=_either(policy.ignore, nothing),
        recovery_from=policy.recovery_from or hint_of,
        max_retry_after=policy.max_retry_after or LONGEST_HINT,
    )


def _either(first: Errors, second: Errors) -> Errors:
    """Return what means the errors of both. Functions are asked about an `Exception` only."""
    if _are_types(first) and _are_types(second):
        return (*_several(first), *_several(second))
    return _Either(first, second)


def _are_types(errors: Errors) -> TypeGuard[Types]:
    return isinstance(errors, type | tuple)


def _several(types: Types) -> tuple[type[BaseException], ...]:
    return types if isinstance(types, tuple) else (types,)


@dataclass(frozen=True)  # policies that are equal share a circuit
class _Either:
    """Says yes to the errors that one of two means: types, or a function."""

    first: Errors
    second: Errors

    def __call__(self, error: BaseException) -> bool:
        return _means(self.first, error) or _means(self.second, error)


def _means(errors: Errors, error: BaseException) -> bool:
    if _are_types(errors):
        return isinstance(error, errors)
    return cast("Callable[[BaseException], bool]", errors)(error)
