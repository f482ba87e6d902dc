"""What joins a supervisor's circuits to those of others: a member of their fleet, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from supervisor import sharing as fleets
from supervisor.circuit import Circuit
from supervisor.errors import describe
from supervisor.events import FleetJoined, FleetLost
from supervisor.loop import EventLoop, Tasks
from supervisor.machine import CircuitState
from supervisor.settings import Keep, SettingsError, Unset
from supervisor.sharing import Sharing
from supervisor.supervision.figures import Fleet, History
from supervisor.supervision.publishing import Publisher

if TYPE_CHECKING:
    from supervisor.settings import CircuitBreakerSettings


class Membership:
    """That of a supervisor which shares nothing."""

    status: Fleet | None = None

    def open(self, loop: EventLoop, tasks: Tasks[Callable[[], None]]) -> None:
        """Join, by a task of those."""

    async def wait_until_joined(self) -> None:
        """Wait until it is known how things stand, for a short time at most."""

    def share(self, circuit: Circuit) -> None:
        """Share a new circuit, if it is one that is shared."""

    def forget(self, circuit: Circuit) -> None:
        """Know that a circuit has ended."""

    def close(self) -> None:
        """Leave."""

    def force(self, circuit: Circuit, state: CircuitState) -> None:  # noqa: ARG002
        """Set a circuit's state by hand for all.

        Raises:
            RuntimeError: it is not shared, or nobody can be told.
        """
        raise RuntimeError(
            f"circuit {circuit.name!r} is not shared: its supervisor was made without `sharing`"
        )


class InFleet(Membership):
    """That of a supervisor which shares circuits.

    Args:
        sharing: what they are shared through.
        circuits: those of the supervisor, by name, at any time.
        publisher: is told when the store is reached, and when it is not any more.
        history: has to say how things stand.
    """

    def __init__(
        self,
        sharing: Sharing,
        circuits: Mapping[str, Circuit],
        publisher: Publisher,
        history: History,
    ) -> None:
        self._publisher = publisher
        self._member = fleets.Member(sharing, circuits, self._link_changed)
        self._loop: EventLoop | None = None
        self._joined = self._lost = 0
        publisher.tell_fleet = self._member.tell
        history.fleet = lambda: self.status

    @property
    def status(self) -> Fleet:  # type: ignore[override]
        """How things stand, for any thread."""
        member = self._member
        return Fleet(member.linked, member.members, member.owner, self._joined, self._lost)

    def open(self, loop: EventLoop, tasks: Tasks[Callable[[], None]]) -> None:
        """Join, by a task of those."""
        self._loop = loop
        tasks.start("supervisor fleet", _nothing, self._member.run(loop))

    async def wait_until_joined(self) -> None:
        """Wait until it is known how things stand, for a short time at most."""
        await self._member.wait_until_joined()

    def share(self, circuit: Circuit) -> None:
        """Share a new circuit, if it is one that is shared."""
        self._member.share(circuit)

    def forget(self, circuit: Circuit) -> None:
        """Give back what a circuit has of the fleet's, which has ended."""
        self._member.forget(circuit)

    def close(self) -> None:
        """Leave, with what there is to be given back."""
        assert self._loop is not None
        self._member.leave(self._loop)

    def force(self, circuit: Circuit, state: CircuitState) -> None:
        """Set a circuit's state by hand for all; see `Membership`."""
        self._member.force(circuit, state)

    def _link_changed(self, members: int, error: Exception | None) -> None:
        assert self._loop is not None
        at = self._loop.clock.time()
        if error is None:
            self._joined += 1
            self._publisher.publish_of("", FleetJoined, at, members=members)
        else:
            self._lost += 1
            self._publisher.publish_of("", FleetLost, at, error=describe(error))


def membership(
    sharing: Sharing | None,
    keep: Keep | None,
    circuits: Mapping[str, Circuit],
    publisher: Publisher,
    history: History,
) -> Membership:
    """Return what a supervisor is to have.

    Raises:
        TypeError, ValueError: `sharing` is nothing of the kind, or does not go with `keep`.
    """
    if sharing is None:
        return Membership()
    _check_type(sharing)
    if keep is not None:
        raise ValueError(
            f"keep={keep!r} does not go with sharing: what is shared outlives event loops anyway"
        )
    return InFleet(sharing, circuits, publisher, history)


def sharing_by(settings: CircuitBreakerSettings | Unset) -> Sharing | None:
    """Return what a supervisor that nobody has entered shares circuits through, by settings.

    Raises:
        SettingsError: the URL is none, or does not go with `keep`.
        ModuleNotFoundError: what it needs is not installed.
    """
    if isinstance(settings, Unset) or settings.sharing_url is None:
        return None
    if settings.keep is not None:
        raise SettingsError(
            f"{settings.variable('keep')}={settings.keep} does not go with"
            f" {settings.variable('sharing_url')}: what is shared outlives event loops anyway"
        )
    try:
        return fleets.RedisSharing(
            settings.sharing_url.get_secret_value(), space=settings.sharing_space
        )
    except ValueError as error:
        problem = str(error).removeprefix("url ")
        raise SettingsError(f"{settings.variable('sharing_url')} {problem}") from None


def _check_type(sharing: object) -> None:
    if not isinstance(sharing, Sharing):  # it may be a URL, with a password
        kind = type(sharing).__name__
        raise TypeError(f"sharing must be a Sharing, as RedisSharing(url), got {kind}")


def _nothing() -> None:
    pass
