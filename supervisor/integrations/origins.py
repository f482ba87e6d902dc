"""Which circuit a request goes by."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine, iscoroutinefunction
from typing import Final, Generic, Protocol, TypeVar

from supervisor import CircuitBreaker, Policy

KNOWN: Final = 1000
"""Circuits that are found again without a look at their supervisor."""


class AnyUrl(Protocol):
    """What is needed to know of a client's URL."""

    @property
    def scheme(self) -> str:
        """In lower case."""
        ...

    @property
    def netloc(self) -> bytes:
        """The host in lower case, and the port if it is not the scheme's usual one."""
        ...


class AnyRequest(Protocol):
    """What is needed to know of a client's request."""

    @property
    def url(self) -> AnyUrl:
        """Where it goes."""
        ...


Request = TypeVar("Request", bound=AnyRequest)


def origin(request: AnyRequest) -> str:
    """Return the name of a request's circuit: its scheme, its host, and its port if that is not the
    usual one, as in `https:example.com` and `http:localhost:8080`.
    """
    return f"{request.url.scheme}:{request.url.netloc.decode('ascii')}"


def check_naming(field: str, func: object, of: str) -> None:
    """Refuse what cannot tell the names of circuits; `field` is the argument that it was given as.

    Raises:
        TypeError: it is no plain function of that.
    """
    if not callable(func) or iscoroutinefunction(func):
        raise TypeError(f"{field} must be a plain function of {of}, got {func!r}")


def given_name(field: str, name: object) -> str | None:
    """Return what a user's function of that name has returned: a circuit's name, or None for none.

    Raises:
        TypeError: it is neither.
    """
    if name is None or isinstance(name, str):
        return name
    if iscoroutine(name):
        name.close()  # or it would warn that nobody has awaited it
    raise TypeError(f"{field} must return a circuit's name, or None, got {name!r}")


class Circuits(Generic[Request]):
    """The circuits that requests go by.

    Args:
        name_of: the name of a request's circuit; None: it is not guarded.
        policy: that of all of them.
    """

    def __init__(self, name_of: Callable[[Request], str | None], policy: Policy) -> None:
        self._name_of = name_of
        self._policy = policy
        self._known: dict[object, CircuitBreaker] = {}

    def of(self, request: Request) -> CircuitBreaker | None:
        """Return the circuit of a request, if it has one.

        Raises:
            TypeError, ValueError: its name is none.
        """
        key: object
        if self._name_of is origin:
            key = (request.url.scheme, request.url.netloc)
        else:
            key = given_name("circuit", self._name_of(request))
        return None if key is None else self._known.get(key) or self._add(key, request)

    def _add(self, key: object, request: Request) -> CircuitBreaker:
        name = key if isinstance(key, str) else origin(request)
        breaker = self._known[key] = CircuitBreaker(name, policy=self._policy)
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]  # it is found again by its name
        return breaker
