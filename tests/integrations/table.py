"""What each client makes of each fault, guarded: docs/reference/faults.md, by `make table`.

Each cell is one call of a fresh circuit, against a server on this machine that fails, in real time.
No clock decides but the clients' own timeouts, and the seconds are only shown.
"""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio

from supervisor import Policy, Statistics, Supervisor
from tests.docs.documents import DOCS
from tests.integrations.real.servers import serving

PAGE: Final = DOCS / "reference" / "faults.md"
MEASURED: Final = re.compile(r"(<!-- measured -->\n).*(<!-- end of measured -->)", re.DOTALL)
SECONDS: Final = re.compile(r"\d+\.\d(?= \|$)", re.MULTILINE)

LATE: Final = 60.0
"""Seconds after which the clients give up what comes by itself, even on a slow machine."""

SOON: Final = (0.2, 2.0, 20.0)
"""Seconds after which they give up what never comes: the first of them by which they have asked."""

POLICY: Final = Policy(failure_threshold=1)

REFUSED, HANG, BUSY, UNAVAILABLE = "refused", "hang", "429 with a hint", "503 with a hint"
CUT, UNFINISHED = "cut body", "unfinished stream"
CANCELLED, CLOSED = "cancelled", "closed client"

FAULTS: Final[dict[str, str]] = {
    REFUSED: "Nobody listens.",
    HANG: "The server takes the request and says nothing; the client's own timeout ends the call.",
    BUSY: "The server has too much to do, and asks to be left alone for 700 s. gRPC:"
    " RESOURCE_EXHAUSTED with a `RetryInfo`.",
    UNAVAILABLE: "The server is down, and says for how long. gRPC: UNAVAILABLE with a `RetryInfo`.",
    CUT: "The connection is closed in the middle of the body. gRPC: a stream that ends with"
    " UNAVAILABLE after an item.",
    UNFINISHED: "A stream of events that ends as HTTP or gRPC would have it, but without its last"
    " event. Only a [`complete=`](../how-to/stream.md) can tell, in a guard of the stream itself.",
    CANCELLED: "The caller is cancelled while the server is silent.",
    CLOSED: "The client has been closed before the call.",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What has come of one call.

    Attributes:
        requests: how many have reached the server.
        counted: what the circuit has counted, and for how long it would be open by a hint.
        out: the error that came out, or what came in its place.
        seconds: how long it took.
    """

    requests: int
    counted: str
    out: str
    seconds: float

    @property
    def same(self) -> tuple[int, str, str]:
        """All but the time."""
        return self.requests, self.counted, self.out


@dataclass(frozen=True, slots=True)
class Client:
    """A guarded client: the loops that it runs on, and how a call with a fault is made by it, which
    gives up after so many seconds.
    """

    name: str
    loops: tuple[str, ...]
    call: Callable[[str, float], Awaitable[Cell]]


def counted(circuits: Iterable[Statistics], retry_after: float) -> str:
    """Say what one call was counted as."""
    figures = list(circuits)
    if not figures:
        return "not at all"
    (one,) = figures
    assert (one.started, one.in_flight) == (1, 0)
    (outcome,) = (
        each for each in ("succeeded", "failed", "ignored", "cancelled") if getattr(one, each)
    )
    said = {"succeeded": "success", "failed": "failure"}.get(outcome, "nothing")
    hinted = retry_after > POLICY.recovery_timeout
    return f"{said}, open for {retry_after:.0f} s" if hinted else said


async def outcome_of(
    fault: str, ask: Callable[[], Awaitable[str]], asked: Callable[[], Awaitable[object]]
) -> tuple[str, float]:
    """Make the call, and cancel it if that is its fault; return what came out, and the seconds."""
    began = time.monotonic()
    out = "cancelled"
    if fault == CANCELLED:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await asked()
            tasks.cancel_scope.cancel()
    else:
        try:
            out = await ask()
        except Exception as error:
            status = getattr(error, "code", None)  # of gRPC's
            out = f"`{type(error).__name__}`{f' {status().name}' if callable(status) else ''}"
    return out, time.monotonic() - began


def figures_of(supervisor: Supervisor) -> str:
    """Say what the only circuit, if there is one, has counted."""
    open_for = [supervisor[name].retry_after for name in supervisor]
    return counted(supervisor.statistics().values(), max(open_for, default=0.0))


# Clients of HTTP

SERVED: Final = {
    REFUSED: "refused",
    HANG: "hang",
    BUSY: "429",
    UNAVAILABLE: "503",
    CUT: "cut",
    UNFINISHED: "200",
    CANCELLED: "hang",
    CLOSED: "200",
}
MODELS: Final = b'{"object": "list", "data": [], "has_more": false}'
EVENT: Final = b'event: ping\ndata: {"type": "ping", "choices": []}\n\n'


@dataclass(frozen=True, slots=True)
class HttpClient:
    """How a client is made and used.

    Attributes:
        opened: makes one, guarded, for a URL, that gives up after so many seconds; to be entered.
        ask: asks for an answer as a whole.
        stream: asks for one in parts, and reads all of them.
        close: closes it.
    """

    opened: Callable[[str, float], Any]
    ask: Callable[[Any, str], Awaitable[str]]
    stream: Callable[[Any, str], Awaitable[str]]
    close: Callable[[Any], Awaitable[None]]

    async def call(self, fault: str, patience: float) -> Cell:
        """Make a call with a fault."""
        body = EVENT if fault == UNFINISHED else MODELS
        async with serving(SERVED[fault], body) as server, Supervisor() as supervisor:
            url = f"http://127.0.0.1:{server.port}/"
            async with self.opened(url, patience) as client:
                if fault == CLOSED:
                    await self.close(client)
                way = self.stream if fault == UNFINISHED else self.ask
                out, seconds = await outcome_of(fault, lambda: way(client, url), server.asked.wait)
            return Cell(server.requests, figures_of(supervisor), out, seconds)


def by_httpx(name: str) -> HttpClient:
    """Return httpx, or httpx2."""
    package = importlib.import_module(name)
    ours = importlib.import_module(f"supervisor.integrations.{name}")

    def opened(url: str, patience: float) -> Any:
        return package.AsyncClient(transport=ours.CircuitTransport(policy=POLICY), timeout=patience)

    async def ask(client: Any, url: str) -> str:
        return f"status {(await client.get(url)).status_code}"

    async def stream(client: Any, url: str) -> str:
        async with client.stream("GET", url) as response:
            return f"lines: {len([line async for line in response.aiter_lines() if line])}"

    async def close(client: Any) -> None:
        await client.aclose()

    return HttpClient(opened, ask, stream, close)


def by_aiohttp() -> HttpClient:
    """Return aiohttp."""
    package = importlib.import_module("aiohttp")
    ours = importlib.import_module("supervisor.integrations.aiohttp")

    @asynccontextmanager
    async def opened(url: str, patience: float) -> AsyncIterator[Any]:
        async with package.ClientSession(
            middlewares=[ours.CircuitMiddleware(policy=POLICY)],
            timeout=package.ClientTimeout(patience),
        ) as session:
            yield session

    async def ask(client: Any, url: str) -> str:
        async with client.post(url) as response:  # a GET may be sent twice
            await response.read()
            return f"status {response.status}"

    async def stream(client: Any, url: str) -> str:
        async with client.post(url) as response:
            return f"lines: {len([line async for line in response.content if line.strip()])}"

    async def close(client: Any) -> None:
        await client.close()

    return HttpClient(opened, ask, stream, close)


QUESTIONS: Final[dict[str, dict[str, Any]]] = {
    "openai": {"model": "any", "prompt": "hello"},
    "anthropic": {
        "model": "any",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hello"}],
    },
}


def by_sdk(name: str) -> HttpClient:
    """Return openai, or anthropic."""
    ours = importlib.import_module(f"supervisor.integrations.{name}")

    def opened(url: str, patience: float) -> Any:
        return ours.client(policy=POLICY, base_url=url, api_key="none", timeout=patience)

    async def ask(client: Any, url: str) -> str:
        await client.models.list()
        return "an answer"

    async def stream(client: Any, url: str) -> str:
        create = client.messages if name == "anthropic" else client.completions
        events = await create.create(**QUESTIONS[name], stream=True)
        return f"events: {len([event async for event in events])}"

    async def close(client: Any) -> None:
        await client.close()

    return HttpClient(opened, ask, stream, close)


# gRPC

METHODS: Final = {
    REFUSED: "unary_unary-ok",
    HANG: "unary_unary-hang",
    BUSY: "unary_unary-hint:RESOURCE_EXHAUSTED",
    UNAVAILABLE: "unary_unary-hint:UNAVAILABLE",
    CUT: "unary_stream-UNAVAILABLE",
    UNFINISHED: "unary_stream-ok",
    CANCELLED: "unary_unary-hang",
    CLOSED: "unary_unary-ok",
}


async def by_grpc(fault: str, patience: float) -> Cell:
    """Make a call of gRPC's with a fault."""
    aio: Any = importlib.import_module("grpc.aio")
    ours = importlib.import_module("supervisor.integrations.grpc")
    servant = importlib.import_module("tests.integrations.real.grpc_servant").Servant()
    server = aio.server()
    server.add_generic_rpc_handlers((servant,))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    if fault == REFUSED:
        await server.stop(None)
    try:
        async with Supervisor() as supervisor:
            guards = ours.circuit_interceptors(target, policy=POLICY)
            async with aio.insecure_channel(target, interceptors=guards) as channel:
                if fault == CLOSED:
                    await channel.close()
                method = METHODS[fault]

                async def ask() -> str:
                    kind = method.partition("-")[0]
                    call = getattr(channel, kind)(f"/shop/{method}")(b"tea", timeout=patience)
                    if kind == "unary_unary":
                        await call
                        return "an answer"
                    return f"items: {len([item async for item in call])}"

                out, seconds = await outcome_of(fault, ask, servant.asked.wait)
            return Cell(servant.calls, figures_of(supervisor), out, seconds)
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop(None)


BOTH: Final = ("asyncio", "trio")


def clients() -> list[Client]:
    """Return all of them."""
    return [
        Client("httpx", BOTH, by_httpx("httpx").call),
        Client("httpx2", BOTH, by_httpx("httpx2").call),
        Client("aiohttp", BOTH[:1], by_aiohttp().call),
        Client("grpc", BOTH[:1], by_grpc),
        Client("openai", BOTH, by_sdk("openai").call),
        Client("anthropic", BOTH, by_sdk("anthropic").call),
    ]


Results = dict[tuple[str, str], dict[str, Cell]]
"""By client and loop, and by fault."""


async def cell_of(client: Client, fault: str) -> Cell:
    """Make a call with a fault.

    A client whose time was over before the server had heard of it has met no fault of the server's.
    """
    if fault != HANG:
        return await client.call(fault, LATE)
    for patience in SOON:
        cell = await client.call(fault, patience)
        if cell.requests:
            break
    return cell


def measured() -> Results:
    """Make all calls: those of a client on one loop, one after the other."""

    async def all_of(client: Client) -> dict[str, Cell]:
        return {fault: await cell_of(client, fault) for fault in FAULTS}

    return {
        (client.name, loop): anyio.run(all_of, client, backend=loop)
        for client in clients()
        for loop in client.loops
    }


def rows_of(results: Results, fault: str) -> list[tuple[str, list[str], Cell]]:
    """Return the rows of one fault: a client has one, unless its loops differ."""
    rows: list[tuple[str, list[str], Cell]] = []
    for (name, loop), cells in results.items():
        cell = cells[fault]
        for other, loops, seen in rows:
            if (other, seen.same) == (name, cell.same):
                loops.append(loop)
                break
        else:
            rows.append((name, [loop], cell))
    return rows


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(each) for each in line)} |" for line in lines]


def text_of(results: Results) -> str:
    """Return what the page says of them: what counts at a glance, and then each fault."""
    rows = [
        [f"{name}, {loop}", *(cell.counted.partition(",")[0] for cell in cells.values())]
        for (name, loop), cells in results.items()
    ]
    lines = ["## At a glance", "", *table(["Client", *FAULTS], rows), ""]
    for fault, meaning in FAULTS.items():
        head = ["Client", "On", "Requests", "Counted as", "What comes out", "Seconds"]
        own = [
            [name, ", ".join(loops), cell.requests, cell.counted, cell.out, f"{cell.seconds:.1f}"]
            for name, loops, cell in rows_of(results, fault)
        ]
        lines += [f"## {fault[0].upper()}{fault[1:]}", "", meaning, "", *table(head, own), ""]
    return "\n".join(lines)


def page_with(text: str) -> str:
    """Return the page with that in its place."""
    page = PAGE.read_text(encoding="utf-8")
    assert MEASURED.search(page)
    return MEASURED.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page)


def without_seconds(page: str) -> str:
    """Return a page without what differs from run to run."""
    return SECONDS.sub("…", page)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page_with(text_of(measured())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
