"""The store in Redis or Valkey, which joins processes and machines."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack, cast

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from supervisor.arguments import check_seconds, shown
from supervisor.instrumentation import log_malformed
from supervisor.settings import check_space
from supervisor.sharing.address import read_address
from supervisor.sharing.choice import Sharing, SharingOptions
from supervisor.sharing.held import NOTHING, Held, as_of, milliseconds, record_of
from supervisor.sharing.rules import Asker
from supervisor.sharing.space import MOST_NEWS, standing_of
from supervisor.sharing.store import (
    Answer,
    Beat,
    Epoch,
    Link,
    News,
    Record,
    Sight,
    Standing,
    Step,
)
from supervisor.sharing.wire import (
    asked,
    asked_by,
    read_epoch,
    read_held,
    read_name,
    read_news,
    script,
    text_of,
    unread,
)


class RedisSharing(Sharing):
    """A store in Redis 6.2 or later, or in Valkey: supervisors share their circuits through it.

    Needs the extra `redis`. Each supervisor has a client of its own, of two connections.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` for TLS;
            `redis+sentinel://host[:port],.../service`, `redis+cluster://host[:port],...`, both
            also with `rediss`; `unix://[user:password@]/path`. What is special in a user or a
            password is written as in `%40`.
        space: who shares with whom: 1 to 100 letters, digits, and `._:/-`. All keys begin with
            `circuits:{space}:`.
        timeout: seconds that an answer may take; connecting may take twice as long.
        ssl_context: for TLS by the URL, in the place of the default one, which verifies the server.
        client: returns a client of coredis, new and not entered yet, in the place of the one that
            `url` stands for. It should retry nothing, limit no time by itself, and have two
            connections.
        options: see `Sharing`.

    Attributes:
        malformed: how many records and news were skipped since nobody can read them.
        where: the server, for people, without a password.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
        ModuleNotFoundError: the extra is not installed.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        space: str = "default",
        timeout: float = 1.0,
        ssl_context: ssl.SSLContext | None = None,
        client: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
        **options: Unpack[SharingOptions],
    ) -> None:
        super().__init__(**options)
        if (url is None) == (client is None):
            raise ValueError("either url or client is needed, and not both")
        space = check_space("space", space)
        timeout = check_seconds("timeout", timeout)
        self._plan = _Plan(space, self.quorum, self.share_failures, timeout)
        self.where = "a client of your own"
        if client is None:
            address = read_address(url)
            _check_context(ssl_context, address.tls)
            self.where = str(address)
            client = partial(_client_of(), address, self._plan.timeout, ssl_context)
        else:
            if not callable(client):  # it may be a URL, with a password
                raise TypeError(f"client must be a function, got {type(client).__name__}")
            _check_context(ssl_context, tls=False)
        self._client = client

    def __repr__(self) -> str:
        return f"RedisSharing({self.where!r}, space={self._plan.space!r})"

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncGenerator[Link]:
        """Connect as the member of that name."""
        async with _one_error(), _coredis(self._client(), "__aenter__") as client:
            link = _Link(_coredis(client, "decoding"), owner, self._plan, self._skip)
            await link.begin()
            yield link

    def _skip(self, what: str) -> None:
        self.malformed += 1
        if self.malformed == 1:
            log_malformed(repr(self), what)


def _check_context(context: object, tls: bool) -> None:
    if context is None:
        return
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, got {shown(context)}")
    if not tls:
        raise ValueError(f"ssl_context needs a url with TLS, as rediss://, got {shown(context)}")


def _client_of() -> Callable[..., AbstractAsyncContextManager[Any]]:
    try:
        from supervisor.sharing.clients import client_of  # noqa: PLC0415  (it needs the extra)
    except ModuleNotFoundError as error:
        error.msg = f"RedisSharing needs {error.name}: pip install 'circuit-supervisor[redis]'"
        raise
    return client_of


def _coredis(client: Any, has: str) -> Any:
    """Return a client of the user's that has such a method, as those of other libraries have not.

    Raises:
        TypeError: it has none; it is not shown, since it may hold a password.
    """
    if not hasattr(client, has):
        raise TypeError(f"client must return a client of coredis, got {type(client).__name__}")
    return client


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a store is used; see `RedisSharing`."""

    space: str
    quorum: int
    share_failures: bool
    timeout: float

    @property
    def keys(self) -> list[str]:
        """Those of circuits, news and members: in one slot of a cluster, by what is in braces."""
        return [f"circuits:{{{self.space}}}:{what}" for what in ("circuits", "news", "members")]


class _Link:
    """A member's connection: one for steps, and one that waits for news."""

    def __init__(self, client: Any, owner: str, plan: _Plan, skip: Callable[[str], None]) -> None:
        self._client = client
        self._owner = owner
        self._plan = plan
        self._skip = skip
        self._keys = plan.keys
        self._script = client.register_script(script())

    async def begin(self) -> None:
        """Have the script there before it is needed: its first use would take three round trips."""
        async with self._limit(2 * self._plan.timeout):
            await self._client.script_load(self._script.script)

    async def take(self, step: Step, seen: Epoch) -> Answer:
        """Let the store take a step."""
        asker = Asker(self._owner, seen, self._plan.quorum)
        outcome, now, ends, text = await self._ask(asked_by(asker, step, self._plan.share_failures))
        held = read_held(text)
        record = None if held is None else record_of(held)
        return Answer(outcome.decode(), int(now) / 1000, record, int(ends) / 1000)

    async def beat(self, seconds: float) -> Beat:
        """Give a sign of life."""
        now, latest, members = await self._ask(
            asked("beat", owner=self._owner, length=milliseconds(seconds))
        )
        return Beat(int(now) / 1000, read_epoch(latest.decode()), members)

    async def snapshot(self) -> AsyncIterator[dict[str, Record]]:
        """Yield all records, in handy parts."""
        cursor = b"0"
        while True:
            now, cursor, found = await self._ask(asked("snapshot", cursor=cursor.decode()))
            records = ((name, record_of(held)) for name, held in self._all_held(found, int(now)))
            yield {name: record for name, record in records if record is not None}
            if cursor == b"0":
                return

    async def news(self, after: Epoch, seconds: float) -> list[News]:
        """Wait for news, on a connection that nobody else uses meanwhile."""
        _, key, _ = self._keys
        block = max(milliseconds(seconds), 1)  # 0 is for ever
        async with self._limit(seconds + 2 * self._plan.timeout):
            found = await self._client.xread({key: text_of(after)}, MOST_NEWS, block)
        return self._read(next(iter(found.values())) if found else ())

    async def look(self) -> Sight:
        """Return how the fleet stands."""
        now, latest, beats = await self._ask(asked("members"))
        members = {
            owner.decode("utf-8", "replace"): float(at) / 1000
            for owner, at in zip(beats[::2], beats[1::2], strict=True)
        }
        circuits: dict[str, Standing] = {}
        cursor = b"0"
        while True:
            then, cursor, found = await self._ask(asked("snapshot", cursor=cursor.decode()))
            some = self._all_held(found, int(then))
            circuits |= {name: standing_of(held) for name, held in some if held != NOTHING}
            if cursor == b"0":
                return Sight(int(now) / 1000, read_epoch(latest.decode()), members, circuits)

    async def past(self, count: int) -> list[News]:
        """Return the latest news."""
        _, key, _ = self._keys
        async with self._limit(self._plan.timeout):
            found = await self._client.xrevrange(key, "+", "-", count)
        return self._read(reversed(found))

    async def _ask(self, question: bytes) -> list[Any]:
        async with self._limit(self._plan.timeout):
            return cast("list[Any]", await self._script(self._keys, [question]))

    @asynccontextmanager
    async def _limit(self, seconds: float) -> AsyncGenerator[None]:
        """Limit the time of a command, whose answer is not decoded."""
        with anyio.fail_after(seconds):
            async with _one_error():
                with self._client.decoding(False):
                    yield

    def _all_held(self, found: list[bytes], now: int) -> Iterator[tuple[str, Held]]:
        for at in range(0, len(found), 2):
            name, held = read_name(found[at]), read_held(found[at + 1])
            if name is None or held is None:
                self._skip("a circuit's record")
                continue
            yield name, as_of(held, now)

    def _read(self, entries: Iterable[Any]) -> list[News]:
        return [self._news_of(entry.identifier, entry.field_values) for entry in entries]

    def _news_of(self, identifier: bytes, entry: dict[bytes, bytes]) -> News:
        news = read_news(identifier, entry)
        if news is None:
            self._skip("news of a circuit")
            return unread(identifier)
        return news


@asynccontextmanager
async def _one_error() -> AsyncGenerator[None]:
    """Raise one error in the place of a group of them; but a cancellation, if it has come to that.

    Clients may make an error of a cancellation that comes while they connect.
    """
    try:
        yield
    except BaseException as error:
        urgent = _most_urgent(error)
        if isinstance(urgent, Exception):
            await checkpoint_if_cancelled()
        if urgent is error:
            raise
        raise urgent from None


def _most_urgent(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        within = cast("BaseExceptionGroup[BaseException]", error)
        ends = within.subgroup(lambda each: not isinstance(each, Exception))
        error = (ends or within).exceptions[0]
    return error
