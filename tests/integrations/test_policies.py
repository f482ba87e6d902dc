"""What ready-made guards add to a policy."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor import Policy
from supervisor.integrations.policies import LONGEST_HINT, whole_policy, with_hints
from supervisor.retry import hint_of


def odd(error: BaseException) -> bool:
    return error.args == ("odd",)


def own_hint(error: BaseException) -> float | None:
    del error
    return None


def test_hints() -> None:
    """A server's are believed, up to an hour, unless the policy says otherwise."""
    policy = with_hints(Policy(), ())
    assert (policy.recovery_from, policy.max_retry_after) == (hint_of, LONGEST_HINT)
    given = Policy(recovery_from=own_hint, max_retry_after=5)
    assert with_hints(given, ()) == given


def test_a_name_is_no_field() -> None:
    """Whoever gives one is told where names belong."""
    with pytest.raises(
        TypeError, match=r"^got name='x', but circuit= tells the names of circuits$"
    ):
        whole_policy(None, name="x")


@pytest.mark.parametrize("given", [OSError, (OSError, KeyError)])
def test_types(given: Any) -> None:
    """They are joined, so that they may name a `BaseException`."""
    policy = with_hints(Policy(ignore=given), (KeyboardInterrupt,))
    types = given if isinstance(given, tuple) else (given,)
    assert policy.ignore == (*types, KeyboardInterrupt)


@pytest.mark.parametrize(("given", "nothing"), [(odd, OSError), (OSError, odd), (odd, odd)])
def test_functions(given: Any, nothing: Any) -> None:
    """They are joined as well; what was made of the same is equal, as policies of a circuit are."""
    policy = with_hints(Policy(ignore=given), nothing)
    assert policy == with_hints(Policy(ignore=given), nothing)
    assert policy.ignore == (given, nothing)
