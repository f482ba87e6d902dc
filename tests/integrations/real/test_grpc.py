"""The interceptors for grpc.aio against a server on this machine that fails: in real time.

No test depends on how fast it runs: the only clocks are deadlines, which end what would last
forever.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreakerOpenError,
    CircuitState,
    Statistics,
    Supervisor,
    is_retryable_error,
)
from tests.integrations.real.grpc_servant import Servant
from tests.integrations.real.servers import REAL_TIME
from tests.support.worlds import counted, until

grpc: Any = pytest.importorskip("grpc")
aio: Any = pytest.importorskip("grpc.aio")
ours: Any = importlib.import_module("supervisor.integrations.grpc")

pytestmark = pytest.mark.anyio

SOON = 0.1
FOREVER = 1e6
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
STREAMS = ("unary_stream", "stream_stream")
TIMED = pytest.mark.parametrize(
    "options",
    [{}, {"slow_call_duration": 600.0}, {"timeout": 600.0}],
    ids=["plain", "timed", "limited"],
)


@pytest.fixture(params=["asyncio", "uvloop"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """grpc.aio runs on asyncio."""
    return REAL_TIME[request.param]


@pytest.fixture(autouse=True, scope="module")
async def one_loop(anyio_backend: object) -> AsyncIterator[None]:
    """Let all tests run on one loop: grpc has one queue for all, and tells closed ones, too."""
    yield
    gc.collect()
    await anyio.sleep(0.2)


class Calls:
    """A server, a guarded channel to it, and what is known of both."""

    def __init__(self, servant: Servant, target: str, supervisor: Supervisor, channel: Any) -> None:
        self.servant = servant
        self.target = target
        self.supervisor = supervisor
        self.channel = channel

    @property
    def figures(self) -> Statistics:
        """What the circuit has counted."""
        return self.supervisor.statistics()[f"grpc:{self.target}"]

    def counted(self) -> str:
        """What one call has come to."""
        return counted(self.figures)

    def has_begun(self) -> bool:
        """Whether a call has been admitted."""
        return f"grpc:{self.target}" in self.supervisor

    def call(self, kind: str, fault: str, **options: Any) -> Any:
        """Begin a call."""
        method = getattr(self.channel, kind)(f"/shop/{kind}-{fault}")
        return method(b"tea" if kind.startswith("unary") else several(), **options)

    async def answer(self, kind: str, fault: str, **options: Any) -> bytes:
        """Make a call, and return all that came."""
        call = self.call(kind, fault, **options)
        if kind in STREAMS:
            return b" ".join([item async for item in call])
        got: bytes = await call
        return got


async def several() -> AsyncIterator[bytes]:
    yield b"te"
    yield b"a"


@asynccontextmanager
async def calls_to(**options: Any) -> AsyncIterator[Calls]:
    """Yield what calls a server through a guard whose circuit opens at the first failure."""
    options = {"failure_threshold": 1, "recovery_timeout": FOREVER, **options}
    servant = Servant()
    server = aio.server()
    server.add_generic_rpc_handlers((servant,))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with Supervisor() as supervisor:
            guards = ours.circuit_interceptors(target, **options)
            async with aio.insecure_channel(target, interceptors=guards) as channel:
                yield Calls(servant, target, supervisor, channel)
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop(None)


# What calls count as


@TIMED
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_answers(kind: str, options: dict[str, float]) -> None:
    """A success, when all of it has come."""
    async with calls_to(**options) as calls:
        answer = b"got te a" if kind == "stream_stream" else b"got tea"
        assert await calls.answer(kind, "ok") == answer
        assert calls.counted() == "succeeded"


@TIMED
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("UNAVAILABLE", "failed"),
        ("DEADLINE_EXCEEDED", "failed"),
        ("RESOURCE_EXHAUSTED", "failed"),
        ("INTERNAL", "failed"),
        ("UNKNOWN", "failed"),
        ("DATA_LOSS", "failed"),
        ("NOT_FOUND", "succeeded"),
        ("CANCELLED", "succeeded"),
        ("UNIMPLEMENTED", "succeeded"),
    ],
)
async def test_a_status(kind: str, fault: str, outcome: str, options: dict[str, float]) -> None:
    """Some are failures, though an item may have come; all come out as they are."""
    async with calls_to(**options) as calls:
        call = calls.call(kind, fault)
        with pytest.raises(aio.AioRpcError) as raised:
            if kind in STREAMS:
                async for _ in call:
                    pass
            else:
                await call
        assert calls.counted() == outcome
        for error in (raised.value.code(), await call.code()):
            assert error is grpc.StatusCode[fault]
        assert (raised.value.details(), await call.details()) == ("told so", "told so")
        assert ("who", "server") in list(await call.trailing_metadata())
        assert call.done()
        before = calls.servant.calls
        if outcome == "failed":
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await calls.answer(kind, "ok")
            assert calls.servant.calls == before
            assert refusal.value.last_failure == type(raised.value).__name__


@TIMED
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize(
    ("fault", "outcome"), [("UNAVAILABLE 0", "failed"), ("ABORTED 0", "succeeded")]
)
async def test_a_stream_that_breaks_before_an_item(
    kind: str, fault: str, outcome: str, options: dict[str, float]
) -> None:
    """Counts by its status, also if nobody reads."""
    async with calls_to(**options) as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer(kind, fault)
        assert calls.counted() == outcome
    async with calls_to(**options) as calls:
        call = calls.call(kind, fault)
        await until(lambda: bool(call.done()))
        assert calls.counted() == outcome
        with pytest.raises(aio.AioRpcError):
            async for _ in call:
                pass


@TIMED
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize(("fault", "outcome"), [("ok", "succeeded"), ("INTERNAL", "failed")])
async def test_reading_and_writing_by_hand(
    kind: str, fault: str, outcome: str, options: dict[str, float]
) -> None:
    """Is the same."""
    async with calls_to(**options) as calls:
        if kind == "stream_stream":
            call = calls.channel.stream_stream(f"/shop/stream_stream-{fault}")()
            await call.write(b"tea")
            assert [await call.read(), await call.read()] == [b"got", b"tea"]
            await call.done_writing()
        else:
            call = calls.call(kind, fault)
            assert [await call.read(), await call.read()] == [b"got", b"tea"]
        if fault == "ok":
            assert await call.read() is aio.EOF
        else:
            with pytest.raises(aio.AioRpcError):
                await call.read()
        assert calls.counted() == outcome


async def test_writing_by_hand_to_one_answer() -> None:
    """Is the same, too."""
    async with calls_to() as calls:
        call = calls.channel.stream_unary("/shop/stream_unary-ok")()
        await call.wait_for_connection()
        await call.write(b"te")
        await call.write(b"a")
        await call.done_writing()
        assert await call == b"got tea"
        assert calls.counted() == "succeeded"


@TIMED
@pytest.mark.parametrize("kind", KINDS)
async def test_a_deadline(kind: str, options: dict[str, float]) -> None:
    """Of the caller's is a failure."""
    async with calls_to(**options) as calls:
        with pytest.raises(aio.AioRpcError) as raised:
            await calls.answer(kind, "hang", timeout=SOON)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert calls.counted() == "failed"


async def test_no_server() -> None:
    """A failure."""
    with socket.socket() as bound:  # that does not listen
        bound.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{bound.getsockname()[1]}"
        async with Supervisor() as supervisor:
            guards = ours.circuit_interceptors(target, failure_threshold=1)
            async with aio.insecure_channel(target, interceptors=guards) as channel:
                with pytest.raises(aio.AioRpcError):
                    await channel.unary_unary("/shop/any")(b"")
                with pytest.raises(CircuitBreakerOpenError):
                    await channel.unary_unary("/shop/any")(b"")
            assert supervisor.statistics()[f"grpc:{target}"].failed == 1


@TIMED
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["task", "call", "channel"])
async def test_whoever_leaves_while_waiting(kind: str, way: str, options: dict[str, float]) -> None:
    """Says nothing of the server: by a task that is cancelled, or the call, or the channel."""
    async with calls_to(**options) as calls:
        call = calls.call(kind, "hang 0" if kind in STREAMS else "hang")

        async def wait() -> None:
            with suppress(asyncio.CancelledError):
                if kind in STREAMS:
                    await call.read()
                else:
                    await call

        task = asyncio.ensure_future(wait())
        await calls.servant.asked.wait()
        if way == "task":
            task.cancel()
        elif way == "call":
            assert call.cancel()
        else:
            await calls.channel.close()
        await asyncio.wait([task])
        assert calls.counted() == "cancelled"
        await until(call.cancelled)
        assert await call.code() is grpc.StatusCode.CANCELLED


@TIMED
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("items", [0, 1])
async def test_a_reader_that_leaves(kind: str, items: int, options: dict[str, float]) -> None:
    """Was served, if an item came."""
    async with calls_to(**options) as calls:
        call = calls.call(kind, "hang")
        for _ in range(items):
            await call.read()
        await calls.servant.asked.wait()
        assert calls.figures.in_flight == 1
        assert call.cancel()
        assert calls.counted() == ("succeeded" if items else "cancelled")
        with pytest.raises(asyncio.CancelledError):
            await call.read()


async def test_a_call_that_is_cancelled_before_it_is_sent() -> None:
    """Holds nothing."""
    async with calls_to() as calls:
        call = calls.call("unary_unary", "ok")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert list(calls.supervisor) == []


@TIMED
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_call_that_nobody_waits_for(kind: str, options: dict[str, float]) -> None:
    """Is over with its channel at the latest: grpc keeps it until then."""
    async with calls_to(**options) as calls:
        calls.call(kind, "hang")
        await calls.servant.asked.wait()
        gc.collect()
        await calls.channel.close()
        assert calls.counted() == "cancelled"


@TIMED
async def test_an_answer_that_comes_while_requests_are_sent(options: dict[str, float]) -> None:
    """Counts as what the server has said, though grpc may raise INTERNAL instead."""
    async with calls_to(**options) as calls:
        for _ in range(200):
            with pytest.raises(aio.AioRpcError):
                await calls.answer("stream_stream", "ABORTED 0")
        assert calls.figures.succeeded == 200


# What a call can do


@TIMED
@pytest.mark.parametrize("kind", KINDS)
async def test_a_calls_own_methods(kind: str, options: dict[str, float]) -> None:
    """Are all there."""
    async with calls_to(**options) as calls:
        call = calls.call(kind, "ok")
        told: list[Any] = []
        call.add_done_callback(told.append)
        assert (call.done(), call.cancelled()) == (False, False)
        await call.wait_for_connection()
        assert list(await call.initial_metadata()) == []
        if kind in STREAMS:
            assert b"got" in [item async for item in call]
        else:
            assert await call == b"got tea"
        assert await call.code() is grpc.StatusCode.OK
        assert (await call.details(), list(await call.trailing_metadata())) == ("", [])
        assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
        await until(lambda: bool(told))
        assert told == [call]
        with pytest.raises(NotImplementedError):  # as with any interceptor
            call.time_remaining()


@TIMED
async def test_other_interceptors(options: dict[str, float]) -> None:
    """One inside may answer itself; one outside sees a refusal."""
    seen: list[BaseException] = []

    class Outside(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
            try:
                return await go_on(details, request)
            except CircuitBreakerOpenError as error:
                seen.append(error)
                return b"instead"

    class Inside(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, *args: Any) -> Any:
            request = args[-1]
            if request == b"raise":
                raise ConnectionError
            return b"cached"

    class Items(aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_stream(self, go_on: Any, details: Any, request: Any) -> Any:
            if request == b"raise":
                raise ConnectionError
            call = await go_on(details, request)

            async def doubled() -> AsyncIterator[bytes]:
                async for item in call:
                    yield item * 2

            return doubled()

    async with calls_to(**options) as calls:
        guards = ours.circuit_interceptors(
            calls.target, failure_threshold=1, recovery_timeout=FOREVER, **options
        )
        others = [Outside(), *guards, Inside(), Items()]
        async with aio.insecure_channel(calls.target, interceptors=others) as channel:
            items = channel.unary_stream("/shop/unary_stream-ok")
            assert [item async for item in items(b"tea")] == [b"gotgot", b"teatea"]
            ask = channel.unary_unary("/shop/unary_unary-ok")
            assert await ask(b"tea") == b"cached"
            assert (calls.figures.succeeded, calls.figures.in_flight) == (2, 0)
            with pytest.raises(ConnectionError):
                await items(b"raise").read()
            assert calls.figures.failed == 1
            assert await ask(b"raise") == b"instead"
            assert [type(each) for each in seen] == [CircuitBreakerOpenError]
    async with calls_to(**options) as calls:
        guards = ours.circuit_interceptors(
            calls.target, failure_threshold=1, recovery_timeout=FOREVER, **options
        )
        async with aio.insecure_channel(calls.target, interceptors=[*guards, Inside()]) as channel:
            with pytest.raises(ConnectionError):
                await channel.unary_unary("/shop/unary_unary-ok")(b"raise")
            assert calls.counted() == "failed"


@pytest.mark.parametrize(
    ("status", "outcome"), [("NOT_FOUND", "succeeded"), ("UNAVAILABLE", "failed")]
)
async def test_an_interceptor_that_waits(status: str, outcome: str) -> None:
    """What it then raises is what the server has said."""

    class Waits(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
            return await (await go_on(details, request))

    async with calls_to() as calls:
        guards = ours.circuit_interceptors(
            calls.target, failure_threshold=1, recovery_timeout=FOREVER
        )
        async with aio.insecure_channel(calls.target, interceptors=[*guards, Waits()]) as channel:
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary(f"/shop/unary_unary-{status}")(b"tea")
            assert calls.counted() == outcome


def as_text(request: bytes) -> str:
    return request.decode()


def as_nothing_known(request: bytes) -> bytes:
    raise ValueError(request)


@TIMED
@pytest.mark.parametrize("reads", [True, False], ids=["reads", "leaves"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_that_is_no_bytes(
    kind: str, options: dict[str, float], reads: bool
) -> None:
    """Ends its call, once, whether anybody waits for it or not: the server was not asked."""
    async with calls_to(**options) as calls:
        method = getattr(calls.channel, kind)(f"/shop/{kind}-ok", request_serializer=as_text)
        call = method(b"tea" if kind.startswith("unary") else several())
        if reads:
            expected = TypeError if kind.startswith("unary") else asyncio.CancelledError
            with pytest.raises(expected):
                _ = [item async for item in call] if kind in STREAMS else await call
        await until(lambda: calls.has_begun() and not calls.figures.in_flight)
        assert calls.counted() == "cancelled"
        await until(call.cancelled)
        await calls.answer(kind, "ok")
        assert (calls.figures.started, calls.figures.succeeded, calls.figures.in_flight) == (
            2,
            1,
            0,
        )


@TIMED
@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_whose_serializer_raises(kind: str, options: dict[str, float]) -> None:
    """Is sent by grpc as an empty one: a call like any other."""
    async with calls_to(**options) as calls:
        method = getattr(calls.channel, kind)(
            f"/shop/{kind}-ok", request_serializer=as_nothing_known
        )
        call = method(b"tea" if kind.startswith("unary") else several())
        _ = [item async for item in call] if kind in STREAMS else await call
        assert calls.counted() == "succeeded"


class OwnDetails(grpc.ClientCallDetails):  # type: ignore[misc]
    """Those of an interceptor that makes them anew, as no named tuple."""

    def __init__(self, details: Any) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = details.metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready


def plain_details(details: Any) -> Any:
    """Return them as an object of no class of grpc's."""
    return SimpleNamespace(**details._asdict())


@pytest.mark.parametrize("given", [None, 0.05, 60.0], ids=["no timeout", "less", "more"])
@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
@pytest.mark.parametrize("details", [OwnDetails, plain_details])
async def test_details_that_are_no_named_tuple(
    kind: str, details: Callable[[Any], Any], given: float | None
) -> None:
    """Are limited as well: by what ends first."""
    seen: list[Any] = []

    class Anew:
        async def to(self, go_on: Any, told: Any, request: Any) -> Any:
            return await go_on(details(told), request)

    class Sees:
        async def to(self, go_on: Any, told: Any, request: Any) -> Any:
            seen.append(told)
            return await go_on(told, request)

    base = {
        "unary_unary": aio.UnaryUnaryClientInterceptor,
        "stream_unary": aio.StreamUnaryClientInterceptor,
    }[kind]
    anew, sees = (
        type(each.__name__, (each, base), {f"intercept_{kind}": each.to})() for each in (Anew, Sees)
    )
    async with calls_to() as calls:
        guards = ours.circuit_interceptors(calls.target, failure_threshold=1, timeout=0.1)
        interceptors = [anew, *guards, sees]
        async with aio.insecure_channel(calls.target, interceptors=interceptors) as channel:
            method = getattr(channel, kind)(f"/shop/{kind}-hang")
            with pytest.raises(aio.AioRpcError) as raised:
                await method(b"tea" if kind == "unary_unary" else several(), timeout=given)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert calls.counted() == "failed"
    assert [each.timeout for each in seen] == [min(given or 60.0, 0.1)]


@TIMED
@pytest.mark.parametrize("kind", KINDS)
async def test_a_channel_that_was_closed(kind: str, options: dict[str, float]) -> None:
    """Says nothing of the server, which was not asked."""
    async with calls_to(**options) as calls:
        await calls.channel.close()
        with pytest.raises(aio.UsageError):
            await calls.answer(kind, "ok")
        assert calls.counted() == "ignored"
        assert calls.servant.calls == 0


async def test_attempts_of_the_channels_own() -> None:
    """Are below the interceptors: one call."""
    config = {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.01s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
    async with calls_to() as calls:
        guards = ours.circuit_interceptors(
            calls.target, failure_threshold=1, recovery_timeout=FOREVER
        )
        options = [("grpc.service_config", json.dumps(config))]
        async with aio.insecure_channel(calls.target, options, interceptors=guards) as channel:
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary("/shop/unary_unary-UNAVAILABLE")(b"tea")
        assert (calls.servant.calls, calls.counted()) == (3, "failed")


# Time


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", [None, 600.0])
async def test_the_policys_own_timeout(kind: str, own: float | None) -> None:
    """Is a deadline if there is one answer, and else limits each wait."""
    async with calls_to(timeout=SOON) as calls:
        with pytest.raises((aio.AioRpcError, CallTimeoutError)) as raised:
            await calls.answer(kind, "hang", timeout=own)
        assert isinstance(raised.value, CallTimeoutError) == (kind in STREAMS)
        assert calls.counted() == "failed"


async def test_a_sooner_deadline_stays() -> None:
    """The caller's."""
    async with calls_to(timeout=600.0) as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer("unary_unary", "hang", timeout=SOON)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["ok", "UNAVAILABLE", "NOT_FOUND"])
async def test_a_probe(kind: str, fault: str) -> None:
    """Is a call like others: by what becomes of it, its circuit closes, or opens again."""
    async with calls_to(recovery_timeout=0.05) as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer(kind, "UNAVAILABLE")
        await until(lambda: calls.figures.state is CircuitState.HALF_OPEN)
        with suppress(aio.AioRpcError):
            await calls.answer(kind, fault)
        good = fault != "UNAVAILABLE"
        assert (calls.figures.succeeded, calls.figures.failed) == ((1, 1) if good else (0, 2))


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_probe_that_nobody_reads(kind: str) -> None:
    """Counts by its status."""
    async with calls_to(recovery_timeout=0.05) as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer(kind, "UNAVAILABLE")
        await until(lambda: calls.figures.state is CircuitState.HALF_OPEN)
        call = calls.call(kind, "INTERNAL 0")
        await until(lambda: bool(call.done()))
        assert (calls.figures.failed, calls.figures.in_flight) == (2, 0)


# Arguments


async def test_the_server_says_for_how_long() -> None:
    """By `RetryInfo`."""
    pytest.importorskip("google.rpc.error_details_pb2")
    async with calls_to() as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer("unary_unary", "hint")
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await calls.answer("unary_unary", "ok")
        assert 600 < refusal.value.retry_after <= 700.001


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_that_is_grpcs(kind: str) -> None:
    """It says how long, and has ours as its cause."""
    async with calls_to(on_refusal="transport_error") as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer(kind, "UNAVAILABLE")
        call = calls.call(kind, "ok")
        with pytest.raises(ours.CircuitOpenError) as refusal:
            if kind in STREAMS:
                await call.read()
            else:
                await call
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert isinstance(refusal.value.__cause__, CircuitBreakerOpenError)
        assert refusal.value.details() == str(refusal.value.__cause__)
        assert is_retryable_error(refusal.value)
        copied = pickle.loads(pickle.dumps(refusal.value))
        assert (copied.details(), copied.retry_after) == (
            refusal.value.details(),
            refusal.value.retry_after,
        )


async def test_a_refusal_of_a_writer() -> None:
    """Comes at the first item that is written."""
    async with calls_to() as calls:
        with pytest.raises(aio.AioRpcError):
            await calls.answer("unary_unary", "UNAVAILABLE")
        for kind in ("stream_unary", "stream_stream"):
            with pytest.raises(CircuitBreakerOpenError):
                await getattr(calls.channel, kind)(f"/shop/{kind}-ok")().write(b"tea")


async def test_a_function_of_the_call() -> None:
    """Names its circuit; None leaves it unguarded."""

    def by_method(target: str, method: str) -> str | None:
        return f"grpc:{target}{method}" if "unary_unary" in method else None

    async with calls_to(circuit=by_method) as calls:
        for kind in KINDS:
            await calls.answer(kind, "ok")
        assert list(calls.supervisor) == [f"grpc:{calls.target}/shop/unary_unary-ok"]


async def test_other_statuses() -> None:
    """In the place of ours."""
    for kind in KINDS:
        async with calls_to(failures=[grpc.StatusCode.NOT_FOUND]) as calls:
            for fault in ("UNAVAILABLE", "NOT_FOUND"):
                with pytest.raises(aio.AioRpcError):
                    await calls.answer(kind, fault)
            assert (calls.figures.succeeded, calls.figures.failed) == (1, 1)


@TIMED
async def test_a_policy_that_raises(options: dict[str, float]) -> None:
    """Is told to the event loop, and hangs nobody."""
    told: list[Any] = []

    def broken(error: BaseException) -> None:
        raise LookupError

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, told_of: told.append(told_of))
    for kind in KINDS:
        async with calls_to(classify=broken, **options) as calls:
            with pytest.raises((aio.AioRpcError, LookupError)):
                await calls.answer(kind, "UNAVAILABLE")
            assert calls.figures.in_flight == 0
    loop.set_exception_handler(before)
    assert all(isinstance(each["exception"], LookupError) for each in told)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"circuit": "a"}, TypeError, "circuit must be a plain function of a target and a method"),
        ({"on_refusal": "response"}, ValueError, "on_refusal must be one of error, transport_err"),
        ({"failures": [14]}, TypeError, "failures must be statuses of grpc's, got 14"),
        ({"failures": "UNKNOWN"}, TypeError, "failures must be statuses of grpc's, got 'UNKNOWN'"),
        ({"failures": [grpc.StatusCode.OK]}, ValueError, "failures must be statuses of grpc's but"),
        ({"name": "a"}, TypeError, "got name='a', but circuit= tells the names of circuits"),
        ({"failure_threshold": 0}, ValueError, "failure_threshold"),
    ],
    ids=["circuit", "on_refusal", "number", "text", "ok", "name", "field"],
)
def test_bad_arguments(options: Any, kind: type[Exception], text: str) -> None:
    """Are errors at once."""
    with pytest.raises(kind, match=text):
        ours.circuit_interceptors("prices:50051", **options)
    with pytest.raises(TypeError, match="target must be the text that the channel is made by"):
        ours.circuit_interceptors(b"prices:50051")
