"""Copies of breakers: of the same name and policy, and not used yet, wherever they are sent."""

from __future__ import annotations

from copy import copy
from typing import Any, Self

from supervisor.circuit import Circuit
from supervisor.guard.joining import BY_NAME, Binding
from supervisor.policy import Policy


class Copied:
    """Is copied, or pickled, without the event loop that it was used on."""

    __slots__ = ()

    _circuit: Circuit
    _binding: Binding

    def __reduce__(self) -> tuple[object, ...]:
        made_of = (type(self), self._circuit.name, self._circuit.latest_policy)
        return _unused, made_of, getattr(self, "__dict__", None)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return copy(self)  # whose policy is the same: breakers of one name must agree on it


def _unused(kind: type[Copied], name: str, policy: Policy) -> Copied:
    unused: Any = kind.__new__(kind)
    unused._circuit = Circuit(name, policy)
    unused._binding = BY_NAME
    unused._entering = None
    return unused  # type: ignore[no-any-return]
