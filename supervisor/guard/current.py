"""Which supervisor the circuits of an event loop belong to.

It is kept per event loop, not per context: a web framework runs its requests in another
context than its lifespan, and both must find the same supervisor.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from anyio.lowlevel import RunVar

from supervisor.circuit import Circuit
from supervisor.policy import Policy


class Host(Protocol):
    """What a breaker needs to know of a supervisor."""

    @property
    def is_default(self) -> bool:
        """Whether it was started because nobody had entered one."""
        ...

    def join(self, name: str, policy: Policy) -> Circuit:
        """Return the circuit of that name, started if there is none yet."""
        ...

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of that name, or None."""
        ...


start_default: Callable[[], Host]
"""Start a host for the running event loop; set by the module that can."""

_hosts: RunVar[tuple[Host, ...]] = RunVar("supervisor.current", ())
_epoch = object()
_threads: weakref.WeakKeyDictionary[Host, int] = weakref.WeakKeyDictionary()


def current_host() -> Host | None:
    """Return the host entered last of those that the running event loop has, or None.

    Raises:
        anyio.NoEventLoopError: no event loop is running.
    """
    hosts = _hosts.get()
    return hosts[-1] if hosts else None


def hosts_here() -> tuple[Host, ...]:
    """Return the hosts of the running event loop or, where none runs, of all loops of this
    thread, which may be resumed.
    """
    try:
        return _hosts.get()
    except RuntimeError:  # anyio's NoEventLoopError, or asyncio's own in a copied context
        here = threading.get_ident()
        # Looked up one by one, since loops of other threads may come and go meanwhile.
        hosts = (reference() for reference in _threads.keyrefs())
        return tuple(host for host in hosts if host is not None and _threads.get(host) == here)


def epoch() -> object:
    """Return an object that is another one as soon as any event loop gets another host."""
    return _epoch


def enter(host: Host) -> None:
    """Make `host` the running event loop's current one."""
    _set_hosts((*_hosts.get(), host))
    _threads[host] = threading.get_ident()


def leave(host: Host) -> None:
    """Undo `enter`, in whatever order several hosts leave."""
    _set_hosts(tuple(other for other in _hosts.get() if other is not host))
    _threads.pop(host, None)


def _set_hosts(hosts: tuple[Host, ...]) -> None:
    global _epoch  # noqa: PLW0603
    _hosts.set(hosts)
    _epoch = object()
