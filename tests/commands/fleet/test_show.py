"""What is seen of a fleet, and done to it by hand: through a store in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from supervisor import CircuitState, MemorySharing
from supervisor.commands.fleet.plan import FleetError, Order, Plan
from supervisor.commands.fleet.show import MISSED, show
from supervisor.commands.fleet.words import lines_of
from supervisor.sharing import NEVER, Epoch, Forcing, Link, News
from supervisor.sharing.rules import Asker
from tests.sharing.cases import ASKING, BEGIN, OPENING, SETTLING, epoch
from tests.sharing.fleets import FaultyStore
from tests.sharing.stories import SetClock
from tests.support.worlds import settle_down

pytestmark = pytest.mark.anyio

CLOSED, OPEN, FORCED_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.FORCED_OPEN
PLAN = Plan("redis://here/0", "shop")
WHERE = "space 'shop' of redis://here/0"
ESCAPES = "down \x1b[2J\n"


class Watched:
    """A store by a clock that is set, and what is shown of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.clock = SetClock()
        self.store = MemorySharing(clock=self.clock)
        self._capsys = capsys

    @asynccontextmanager
    async def member(self, owner: str, quorum: int = 1) -> AsyncIterator[Link]:
        """A link of somebody who has just given a sign of life."""
        store = MemorySharing(clock=self.clock, quorum=quorum)
        store._held = self.store._held
        async with store.connect(owner) as link:
            await link.beat(15.0)
            yield link

    async def lines(self, **plan: Any) -> list[str]:
        await show(replace(PLAN, **plan), self.store)
        return self.printed()

    async def document(self, **plan: Any) -> Any:
        await show(replace(PLAN, as_json=True, **plan), self.store)
        return json.loads(self._capsys.readouterr().out)

    def printed(self) -> list[str]:
        return self._capsys.readouterr().out.splitlines()


@pytest.fixture
def watched(capsys: pytest.CaptureFixture[str]) -> Watched:
    return Watched(capsys)


async def busy(watched: Watched) -> None:
    """Let there be something to see of each kind, ten seconds later."""
    async with watched.member("web-1:7:a") as link:
        await link.take(replace(OPENING, circuit="mail", failure=ESCAPES), NEVER)
        await link.take(replace(ASKING, circuit="pay", needed=2, at_once=2), NEVER)
        settling = replace(SETTLING, circuit="pay", epoch=epoch(0, 1), needed=2)
        await link.take(settling, NEVER)
        await link.take(Forcing("closed", CLOSED), NEVER)
    watched.clock.now += 40
    async with watched.member("web-2:8:b", quorum=2) as link:
        await link.take(replace(ASKING, circuit="pay", token="t2", at_once=2, needed=2), NEVER)
        again = replace(SETTLING, circuit="mail", epoch=epoch(40), verdict="failed")
        await link.take(replace(ASKING, circuit="mail"), NEVER)
        await link.take(again, NEVER)
        await link.take(replace(OPENING, circuit="votes"), NEVER)
        await link.take(Forcing("web", FORCED_OPEN), NEVER)
    watched.clock.now += 3


SEEN = r"""
1 supervisor shares circuits in space 'shop'; 4 circuits not plainly closed

supervisor  last sign of life
web-2:8:b   3 s ago

circuit  state        for   next probe  probes                                   votes         failed recoveries  by
mail     open         3 s   in 57 s                                                            1                  web-2:8:b
pay      half-open    43 s              1 succeeded; 1 running, for 2 s at most                                   web-1:7:a
votes    closed                                                                  1 to open it
web      forced open  3 s                                                                                         web-2:8:b

2023-11-14 22:13:20 UTC  mail    open for 30 s                             web-1:7:a  down \x1b[2J\n
2023-11-14 22:13:20 UTC  pay     half-open                                 web-1:7:a
2023-11-14 22:13:20 UTC  pay     a probe has ended, and its place is free
2023-11-14 22:13:20 UTC  closed  closed                                    web-1:7:a
2023-11-14 22:14:00 UTC  mail    half-open                                 web-2:8:b  down \x1b[2J\n
2023-11-14 22:14:00 UTC  mail    open for 60 s, after 1 in vain            web-2:8:b
2023-11-14 22:14:00 UTC  web     forced open                               web-2:8:b
"""  # noqa: E501  (as wide as terminals are)


async def test_everything(watched: Watched) -> None:
    """Ages are by the clock of the store; texts tell the terminal nothing."""
    await busy(watched)
    assert await watched.lines() == SEEN.strip().splitlines()
    *_, last = await watched.lines(history=1)
    assert last == "2023-11-14 22:14:00 UTC  web  forced open  web-2:8:b"
    assert (await watched.lines(history=0))[-1].startswith("web")


async def test_a_calm_fleet(watched: Watched) -> None:
    """Who looks on is no part of it; who is silent for long is said to be."""
    async with watched.member("a"), watched.member("b"):
        pass
    watched.clock.now += 14.9
    assert await watched.lines() == [
        "2 supervisors share circuits in space 'shop'; 0 circuits not plainly closed",
        "",
        "supervisor  last sign of life",
        "a           14 s ago",
        "b           14 s ago",
    ]
    watched.clock.now += 0.2
    assert (await watched.lines())[-1] == "b           15 s ago: taken for gone"


async def test_everybody_has_left(watched: Watched) -> None:
    """What they have left behind is there."""
    async with watched.member("a") as link:
        await link.take(OPENING, NEVER)
        await link.beat(0.0)
    head, *_, last = await watched.lines()
    assert head == "0 supervisors share circuits in space 'shop'; 1 circuit not plainly closed"
    assert last == "2023-11-14 22:13:20 UTC  db  open for 30 s  a"


async def test_json(watched: Watched) -> None:
    """The same for programs; texts as they are."""
    await busy(watched)
    document = await watched.document(history=2)
    assert (document["server"], document["space"]) == ("redis://here/0", "shop")
    assert document["now"] == BEGIN + 43
    assert document["members"] == [{"owner": "web-2:8:b", "beat": BEGIN + 40, "age": 3.0}]
    mail, pay, votes, web = document["circuits"]
    assert mail == {
        "circuit": "mail",
        "state": "open",
        "since": BEGIN + 40,
        "until": BEGIN + 100,
        "seconds": 60.0,
        "failed_recoveries": 1,
        "failure": None,
        "owner": "web-2:8:b",
        "won": 0,
        "leases": [],
        "votes": [],
    }
    assert (pay["state"], pay["won"], pay["until"]) == ("half_open", 1, None)
    assert pay["leases"] == [{"token": "t2", "until": BEGIN + 45}]
    assert pay["failure"] is None
    assert (votes["state"], votes["since"], set(votes)) == ("closed", None, set(mail))
    assert votes["votes"] == [{"owner": "web-2:8:b", "until": BEGIN + 70}]
    assert (web["state"], web["until"]) == ("forced_open", None)
    reopened, forced = document["history"]
    assert reopened == {
        "at": BEGIN + 40,
        "epoch": f"{round((BEGIN + 40) * 1000)}-1",
        "circuit": "mail",
        "state": "open",
        "until": BEGIN + 100,
        "seconds": 60.0,
        "failed_recoveries": 1,
        "failure": None,
        "owner": "web-2:8:b",
    }
    assert forced["circuit"] == "web"
    first, _, place, *_ = (await watched.document())["history"]
    assert first["failure"] == ESCAPES
    assert (place["circuit"], place["state"], set(place)) == ("pay", None, set(reopened))


# What is to come


async def followed(watched: Watched, *steps: Callable[[], Awaitable[object]], **plan: Any) -> None:
    """Follow a fleet while steps are taken."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show, replace(PLAN, follow=True, **plan), watched.store)
        for step in steps:
            await settle_down()
            await step()
        await settle_down()
        tasks.cancel_scope.cancel()


async def test_changes_to_come(watched: Watched) -> None:
    """Each once, also after those of the past; and whether some were missed."""
    space = watched.store._held.space
    async with watched.member("a") as link:
        await link.take(OPENING, NEVER)

        async def change() -> None:
            watched.clock.now += 60
            await link.take(Forcing("db", FORCED_OPEN), NEVER)

        async def miss_one() -> None:
            space._news.clear()
            for state in (CLOSED, FORCED_OPEN):
                asker = Asker("b", NEVER, 1)
                space.take(Forcing("x", state), round(watched.clock.now * 1000), asker)
            space._news.popleft()
            await change()
            await link.take(Forcing("db", CLOSED), NEVER)

        await followed(watched, change, miss_one)
        lines = watched.printed()
        assert lines[8:] == [
            "2023-11-14 22:13:20 UTC  db  open for 30 s  a",
            "2023-11-14 22:14:20 UTC  db  forced open  a",
            MISSED,
            "2023-11-14 22:14:20 UTC  x  forced open  b",
            "2023-11-14 22:15:20 UTC  db  closed  a",
        ]


async def test_changes_to_come_as_json(watched: Watched) -> None:
    """A line for all that there is, and one for each change."""
    async with watched.member("a") as link:
        await link.take(OPENING, NEVER)

        async def release() -> None:
            await link.take(Forcing("db", CLOSED), NEVER)

        await followed(watched, release, as_json=True, history=0)
    whole, change = map(json.loads, watched.printed())
    assert [each["circuit"] for each in whole["circuits"]] == ["db"]
    assert whole["history"] == []
    assert (change["circuit"], change["state"]) == ("db", "closed")


async def test_nothing_comes_for_long(watched: Watched) -> None:
    """It is waited for all the same."""
    async with watched.member("a") as link:

        async def force() -> None:
            await anyio.sleep(60)
            await link.take(Forcing("db", FORCED_OPEN), NEVER)

        await followed(watched, force)
    assert watched.printed()[-1].endswith("db  forced open  a")


def test_what_nobody_can_read() -> None:
    """Is told all the same."""
    (line,) = lines_of([News("", Epoch(0, 1), NEVER, None)])
    assert line == "1970-01-01 00:00:00 UTC  nobody can read it"


# By hand


async def test_a_state_for_all(watched: Watched) -> None:
    """Set, and released; what is so already is not done again."""
    async with watched.member("a") as link:
        await link.take(OPENING, NEVER)
        force, release = Order("db", FORCED_OPEN), Order("db", CLOSED)
        assert await watched.lines(order=force) == ["db: forced open for all, was open"]
        assert await watched.lines(order=force) == ["db: forced open for all already"]
        assert await watched.document(order=force) == {
            "circuit": "db",
            "state": "forced_open",
            "was": "forced_open",
        }
        assert await watched.document(order=release) == {
            "circuit": "db",
            "state": "closed",
            "was": "forced_open",
        }
        for name in ("db", "never heard of"):
            done = await watched.lines(order=Order(name, CLOSED))
            assert done == [f"{name}: closed for all already"]
        news = await link.news(NEVER, 1.0)
        states = [each.record and each.record.state for each in news]
        assert states == [OPEN, FORCED_OPEN, CLOSED]
        assert (await link.look()).members == {"a": BEGIN}


# What is wrong


async def test_no_fleet(watched: Watched) -> None:
    """It is said, and nothing is done."""
    said = f"{WHERE}: no supervisor shares circuits there; are URL, database and --space right?"
    for order in (None, Order("db", FORCED_OPEN)):
        with pytest.raises(FleetError) as caught:
            await watched.lines(order=order)
        assert str(caught.value) == said
    assert watched.printed() == []


class AuthenticationError(Exception):
    """As a client calls it."""


class WrongPassword(AuthenticationError):
    """A kind of it."""


class AuthorizationError(Exception):
    """As a client calls it."""


class ResponseError(Exception):
    """As a client calls it."""


MISTAKES = [
    (
        WrongPassword("WRONGPASS"),
        "the user or the password is missing or wrong (WrongPassword: WRONGPASS)",
    ),
    (
        AuthorizationError("no permissions"),
        "this user is not allowed to (AuthorizationError: no permissions)",
    ),
    (
        ResponseError("ACL failure in script: zrange"),
        "this user is not allowed to (ResponseError: ACL failure in script: zrange)",
    ),
    (TimeoutError(), "no answer in time (TimeoutError)"),
    (ConnectionError("refused \x1b[2J"), "ConnectionError: refused \\x1b[2J"),
]


@pytest.mark.parametrize(("error", "told"), MISTAKES)
async def test_an_error_of_the_store(error: Exception, told: str) -> None:
    """Whatever is asked for, it is one line."""
    store = FaultyStore()
    store.error = error
    with pytest.raises(FleetError) as caught:
        await show(PLAN, store)
    assert str(caught.value) == f"{WHERE}: {told}"


@asynccontextmanager
async def following(store: MemorySharing, **plan: Any) -> AsyncIterator[None]:
    """Follow a fleet, whose only member has just given a sign of life."""
    async with MemorySharing.connect(store, "a") as link:
        await link.beat(15.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show, replace(PLAN, follow=True, **plan), store)
        await settle_down()
        yield
        await settle_down()
        tasks.cancel_scope.cancel()


async def opened(store: MemorySharing, *circuits: str) -> None:
    async with MemorySharing.connect(store, "a") as link:
        for circuit in circuits:
            await link.take(Forcing(circuit, FORCED_OPEN), NEVER)


async def test_a_store_that_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """While it is followed: that is said once, and so is its return; nothing is missed."""
    store = FaultyStore()
    async with following(store):
        await opened(store, "x")
        await settle_down()
        store.cut()
        await opened(store, "y")
        await anyio.sleep(10)
        assert store.asked["connect"] > 5
        store.mend()
        await anyio.sleep(2)
        await opened(store, "z")
    out, err = capsys.readouterr()
    assert [line.split()[3] for line in out.splitlines()[4:]] == ["x", "y", "z"]
    assert err.splitlines() == [
        f"{WHERE}: Cut: cut; trying again",
        f"{WHERE}: it answers again",
    ]


async def test_a_store_that_comes_back_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """Also with a clock that went back: that is said, and what comes then is shown."""
    store = FaultyStore()
    async with following(store, as_json=True):
        await opened(store, "x")
        await settle_down()
        store.cut()
        await settle_down()
        store.lose_all()
        store._clock = lambda: 1.0
        store.mend()
        await anyio.sleep(2)
        await opened(store, "y")
    out, err = capsys.readouterr()
    assert [json.loads(line)["circuit"] for line in out.splitlines()[1:]] == ["x", "y"]
    *_, said = err.splitlines()
    assert said == f"{WHERE}: it answers again, but does not remember all that has happened"


class Crumbling(MemorySharing):
    """One whose connections break by themselves, as those of clients with tasks of their own."""

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncIterator[Link]:
        try:
            async with super().connect(owner) as link, anyio.create_task_group() as tasks:
                tasks.start_soon(self._break)
                yield link
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _break(self) -> None:
        await anyio.sleep(1)
        raise ConnectionError("reset")


async def test_a_connection_that_breaks_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told as any other, and made again."""
    store = Crumbling()
    async with following(store):
        await anyio.sleep(3.5)
        await opened(store, "x")
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].split()[3] == "x"
    assert err.splitlines() == [
        f"{WHERE}: ConnectionError: reset; trying again",
        f"{WHERE}: it answers again",
    ]


class Ungracious(MemorySharing):
    """One whose connections cannot be left without an error."""

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncIterator[Link]:
        async with super().connect(owner) as link:
            yield link
        raise ConnectionError("reset")


async def test_what_comes_of_leaving(capsys: pytest.CaptureFixture[str]) -> None:
    """It matters to nobody, and is not told in the place of what was wrong before."""
    store = Ungracious()
    with pytest.raises(FleetError, match="no supervisor shares circuits there"):
        await show(PLAN, store)
    async with MemorySharing.connect(store, "a") as link:
        await link.beat(15.0)
    await show(PLAN, store)
    assert capsys.readouterr().out.startswith("1 supervisor shares")
