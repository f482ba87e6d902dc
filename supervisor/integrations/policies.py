"""What ready-made guards add to a policy: servers' hints, and errors that count as nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from supervisor import CircuitBreaker, Policy
from supervisor.retry import hint_of

LONGEST_HINT: Final = 3600.0
"""Seconds for which a server may ask at most, unless the policy says otherwise: an hour. A proxy's
mistake must not close a server off for years.
"""

OneOfErrors = type[BaseException] | Callable[[BaseException], bool]
Errors = OneOfErrors | tuple[OneOfErrors, ...]
"""What a policy's `ignore` takes."""


def whole_policy(policy: Policy | None, **fields: Any) -> Policy:
    """Return a policy with the fields that go before its own.

    Raises:
        TypeError, ValueError: a field is unknown, of the wrong type or out of range.
    """
    if "name" in fields:
        raise TypeError(f"got name={fields['name']!r}, but circuit= tells the names of circuits")
    return CircuitBreaker("whose policy is checked", policy=policy, **fields).policy


def with_hints(policy: Policy, nothing: Errors) -> Policy:
    """Let a server say for how long its circuit is open, and what is not about it be nothing."""
    return replace(
        policy,
        ignore=(*_several(policy.ignore), *_several(nothing)),
        recovery_from=policy.recovery_from or hint_of,
        max_retry_after=policy.max_retry_after or LONGEST_HINT,
    )


def _several(errors: Errors) -> tuple[OneOfErrors, ...]:
    return errors if isinstance(errors, tuple) else (errors,)  # pyright: ignore[reportUnknownVariableType]
