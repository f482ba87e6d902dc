"""Transports for httpx and httpx2: each request is guarded, and counts as what it came to."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from supervisor import (
    CircuitBreakerOpenError,
    CircuitState,
    Failure,
    Policy,
    PolicyConflictError,
    Supervisor,
)
from supervisor.integrations.http import FailedResponse
from supervisor.integrations.origins import KNOWN
from tests.support.worlds import collect_garbage, counted

pytestmark = pytest.mark.anyio

URL = "https://example.com/"


class Client:
    """One of the two packages, with a server that answers as the path of a request says."""

    def __init__(self, package: str) -> None:
        self.package: Any = importlib.import_module(package)
        self.ours: Any = importlib.import_module(f"supervisor.integrations.{package}")
        self.paths: list[str] = []
        self.closed = False
        self.retry_after = "7"

    def new(self, **options: Any) -> Any:
        """Return a client that goes through our transport."""
        inner = options.pop("inner", None) or self.inner()
        transport = self.ours.CircuitTransport(inner, **options)
        return self.package.AsyncClient(transport=transport, follow_redirects=True)

    def inner(self) -> Any:
        """Return a transport that reaches the server."""
        client = self

        class Inner(self.package.MockTransport):  # type: ignore[misc,name-defined]
            async def aclose(self) -> None:
                client.closed = True

        return Inner(self.answer)

    async def answer(self, request: Any) -> Any:
        """Answer as the path says: a status, or the name of what goes wrong."""
        path = request.url.path.strip("/")
        self.paths.append(path)
        response = self.package.Response
        if path.isdigit():
            headers = {"retry-after": self.retry_after}
            return response(int(path), content=self.parts("a", "b"), headers=headers)
        match path:
            case "":
                return response(200, content=self.parts("a", "b"))
            case "read":
                return response(200, text="ab")
            case "nothing":
                return response(204, content=self.parts())
            case "cut":
                return response(200, content=self.parts("a", self.package.ReadError("cut")))
            case "cut at once":
                return response(200, content=self.parts(self.package.ReadError("cut")))
            case "redirect":
                return response(307, content=self.parts(), headers={"location": "https://b.test/"})
            case "slow":
                await anyio.sleep(100)
            case "slow body":
                return response(200, content=self.parts("a", 100))
        raise getattr(self.package, path)("from inside", request=request)

    async def parts(self, *parts: str | float | Exception) -> AsyncIterator[bytes]:
        """Yield texts, sleep for numbers, and raise errors."""
        for part in parts:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, str):
                yield part.encode()
            else:
                await anyio.sleep(part)


def reads_all(http: Client) -> Any:
    """A transport that has read what it returns, as those of a cache or of a log have."""

    class Inner(http.package.AsyncBaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            response = await http.answer(request)
            await response.aread()
            return response

    return Inner()


@pytest.fixture(params=["httpx", "httpx2"])
def http(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


async def outcome_of(http: Client, path: str, **options: Any) -> str:
    """Return what a request that is read to its end counts as."""
    async with Supervisor() as supervisor, http.new(**options) as client:
        with contextlib.suppress(http.package.HTTPError):
            await client.get(URL + path)
        (figures,) = supervisor.statistics().values()
    return counted(figures)


class TestOutcomes:
    """What requests count as."""

    @pytest.mark.parametrize(
        ("path", "outcome"),
        [
            ("", "succeeded"),
            ("read", "succeeded"),
            ("nothing", "succeeded"),
            ("200", "succeeded"),
            ("404", "succeeded"),
            ("428", "succeeded"),
            ("429", "failed"),
            ("500", "failed"),
            ("503", "failed"),
            ("599", "failed"),
            ("cut", "failed"),
            ("cut at once", "failed"),
            ("ConnectError", "failed"),
            ("ConnectTimeout", "failed"),
            ("ReadTimeout", "failed"),
            ("RemoteProtocolError", "failed"),
            ("PoolTimeout", "ignored"),
            ("UnsupportedProtocol", "ignored"),
            ("LocalProtocolError", "ignored"),
        ],
    )
    async def test_of_a_request(self, http: Client, path: str, outcome: str) -> None:
        """By what became of it, and of the body of its response."""
        assert await outcome_of(http, path) == outcome

    async def test_a_body_that_nobody_reads(self, http: Client) -> None:
        """Headers alone are neither a success nor a failure."""
        async with Supervisor() as supervisor, http.new() as client:
            async with client.stream("GET", URL):
                pass
            assert counted(supervisor.statistics()["https:example.com"]) == "ignored"

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_response_that_nobody_closes(self, http: Client) -> None:
        """Is counted when it is collected, and nothing stays in flight."""
        async with Supervisor() as supervisor:
            transport = http.ours.CircuitTransport(http.inner())
            await transport.handle_async_request(http.package.Request("GET", URL))
            collect_garbage()
            assert counted(supervisor.statistics()["https:example.com"]) == "ignored"

    async def test_a_response_that_another_thread_collects(self, http: Client) -> None:
        """Nobody may report it there; a warning says so."""
        async with Supervisor() as supervisor:
            transport = http.ours.CircuitTransport(http.inner())
            responses = [await transport.handle_async_request(http.package.Request("GET", URL))]
            with pytest.warns(ResourceWarning, match="<Permit 'https:example.com'"):
                await anyio.to_thread.run_sync(responses.clear)
                collect_garbage()
            assert supervisor.statistics()["https:example.com"].started == 1

    # On trio, what the package itself has not closed is closed by the collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_body_that_is_left(self, http: Client) -> None:
        """Whoever has read a part of it was served."""
        async with Supervisor() as supervisor, http.new() as client:
            async with client.stream("GET", URL) as response:
                async for part in response.aiter_bytes():
                    assert part == b"a"
                    break
            assert counted(supervisor.statistics()["https:example.com"]) == "succeeded"

    async def test_the_body_is_what_the_server_has_sent(self, http: Client) -> None:
        """Of a status that is a failure, too."""
        async with Supervisor(), http.new() as client:
            assert (await client.get(URL)).text == "ab"
            response = await client.get(f"{URL}503")
            assert (response.status_code, response.text) == (503, "ab")

    @pytest.mark.parametrize("path", ["slow", "slow body"])
    async def test_whoever_is_cancelled(self, http: Client, path: str) -> None:
        """Says nothing of the server."""
        async with Supervisor() as supervisor, http.new() as client:
            with anyio.move_on_after(1) as scope:
                await client.get(URL + path)
            assert scope.cancelled_caught
            assert counted(supervisor.statistics()["https:example.com"]) == "cancelled"

    async def test_the_policys_own_timeout(self, http: Client) -> None:
        """Limits each wait: for the response, and for each part of its body."""
        async with Supervisor() as supervisor, http.new(timeout=1) as client:
            for path in ("slow", "slow body"):
                with pytest.raises(TimeoutError):
                    await client.get(URL + path)
            assert supervisor.statistics()["https:example.com"].failed == 2

    @pytest.mark.parametrize("options", [{}, {"timeout": 10.0}, {"slow_call_duration": 10.0}])
    async def test_a_body_that_was_read_inside(self, http: Client, options: Any) -> None:
        """Is not read again: nothing would come, or an error. Nor is that of a probe."""
        options = {"failure_threshold": 1, "recovery_timeout": 1.0, **options}
        async with Supervisor() as supervisor, http.new(inner=reads_all(http), **options) as client:
            assert (await client.get(URL)).text == "ab"
            assert (await client.get(f"{URL}503")).text == "ab"
            await anyio.sleep(8)
            assert (await client.get(URL)).text == "ab"
            figures = supervisor.statistics()["https:example.com"]
            assert (figures.succeeded, figures.failed, figures.in_flight) == (2, 1, 0)
            assert figures.state is CircuitState.CLOSED

    async def test_redirects(self, http: Client) -> None:
        """Each is a request to the server that it goes to."""
        async with Supervisor() as supervisor, http.new() as client:
            await client.get(f"{URL}redirect")
            figures = {name: counted(each) for name, each in supervisor.statistics().items()}
            assert figures == {"https:example.com": "succeeded", "https:b.test": "succeeded"}


class TestCircuits:
    """Which circuit a request goes by."""

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("http://EXAMPLE.com:80/", "http:example.com"),
            ("http://example.com/?q=1", "http:example.com"),
            ("https://user:secret@example.com:443/read", "https:example.com"),
            ("http://localhost:8080", "http:localhost:8080"),
            ("https://bücher.example", "https:xn--bcher-kva.example"),
            ("http://[::1]:8000/", "http:[::1]:8000"),
        ],
    )
    async def test_one_for_each_origin(self, http: Client, url: str, name: str) -> None:
        """A scheme, a host, and a port if it is not the usual one."""
        async with Supervisor() as supervisor, http.new(circuit=_unread(http)) as client:
            assert _unread(http)(http.package.Request("GET", url)) == name
            await client.get(url)
            assert list(supervisor) == [name]

    async def test_a_function_of_the_request(self, http: Client) -> None:
        """Names it; None leaves a request unguarded."""

        def by_tenant(request: Any) -> str | None:
            tenant: str | None = request.headers.get("tenant")
            return tenant and f"tenant:{tenant}"

        async with Supervisor() as supervisor, http.new(circuit=by_tenant) as client:
            await client.get(URL, headers={"tenant": "a"})
            await client.get(URL, headers={"tenant": "b"})
            assert (await client.get(f"{URL}503")).status_code == 503
            figures = {name: counted(each) for name, each in supervisor.statistics().items()}
            assert figures == {"tenant:a": "succeeded", "tenant:b": "succeeded"}

    @pytest.mark.parametrize(
        "given",
        [5, False, b"x", ["x"], functools.partial(anyio.sleep, 1)],
        ids=["number", "bool", "bytes", "list", "function"],
    )
    async def test_what_is_no_name(self, http: Client, given: Any) -> None:
        """Is an error, and nothing is sent: it might be another circuit's turn."""
        circuit = lambda _: given() if callable(given) else given  # noqa: E731
        async with Supervisor() as supervisor, http.new(circuit=circuit) as client:
            with pytest.raises(TypeError, match="circuit must return a circuit's name, or None, "):
                await client.get(URL)
            assert (list(supervisor), http.paths) == ([], [])

    async def test_more_than_are_known(self, http: Client) -> None:
        """They are found again by their names."""
        async with Supervisor() as supervisor, http.new() as client:
            for number in [*range(KNOWN + 1), 0]:
                await client.get(f"https://host-{number}.test/read")
            assert supervisor.statistics()["https:host-0.test"].succeeded == 2

    async def test_transports_share_them(self, http: Client) -> None:
        """If their policies are equal."""
        policy = Policy(failure_threshold=1, ignore=_is_busy)
        async with (
            Supervisor() as supervisor,
            http.new(policy=policy) as a,
            http.new(policy=policy) as b,
            http.new() as c,
        ):
            await a.get(URL)
            await b.get(URL)
            assert supervisor.statistics()["https:example.com"].succeeded == 2
            with pytest.raises(PolicyConflictError):
                await c.get(URL)

    async def test_what_is_inside_is_closed(self, http: Client) -> None:
        """With the client."""
        async with http.new():
            assert not http.closed
        assert http.closed

    async def test_by_default_the_packages_own_transport(self, http: Client) -> None:
        """Is what sends."""
        async with http.ours.CircuitTransport() as transport:
            assert isinstance(transport._inner, http.package.AsyncHTTPTransport)


def _unread(http: Client) -> Any:
    return http.ours.origin


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, FailedResponse) and error.status == 503


class TestPolicies:
    """What a policy says of requests."""

    async def test_the_server_says_for_how_long(self, http: Client) -> None:
        """By `Retry-After`, unless the policy has its own way to know."""
        async with Supervisor(), http.new(failure_threshold=1) as client:
            await client.get(f"{URL}503")
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await client.get(URL)
            assert refusal.value.retry_after == pytest.approx(7)
            assert refusal.value.last_failure == "FailedResponse"
            await anyio.sleep(7)
            assert (await client.get(URL)).status_code == 200
        own: Callable[[Any], float] = lambda _: 3.0  # noqa: E731
        async with Supervisor(), http.new(failure_threshold=1, recovery_from=own) as client:
            await client.get(f"{URL}503")
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await client.get(URL)
            assert refusal.value.retry_after == pytest.approx(3)

    @pytest.mark.parametrize(("bound", "seconds"), [({}, 3600), ({"max_retry_after": 9000}, 9000)])
    async def test_a_server_cannot_ask_for_years(
        self, http: Client, bound: dict[str, Any], seconds: float
    ) -> None:
        """For an hour at most, or what the policy says."""
        http.retry_after = "99999999999"
        async with Supervisor(), http.new(failure_threshold=1, **bound) as client:
            await client.get(f"{URL}503")
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await client.get(URL)
            assert refusal.value.retry_after == pytest.approx(seconds)

    async def test_other_statuses(self, http: Client) -> None:
        """May be failures, or not."""
        assert await outcome_of(http, "404", failures=[404]) == "failed"
        assert await outcome_of(http, "503", failures=[404]) == "succeeded"

    @pytest.mark.parametrize("ignore", [FailedResponse, (KeyError, FailedResponse), _is_busy])
    async def test_what_is_ignored_besides(self, http: Client, ignore: Any) -> None:
        """What the server has not seen counts as nothing all the same."""
        assert await outcome_of(http, "503", ignore=ignore) == "ignored"
        assert await outcome_of(http, "PoolTimeout", policy=Policy(ignore=ignore)) == "ignored"
        assert await outcome_of(http, "ReadTimeout", ignore=ignore) == "failed"

    async def test_another_policy_later(self, http: Client) -> None:
        """Its limits to the time are those of requests from then on, as of calls."""
        async with Supervisor() as supervisor, http.new() as client:
            await client.get(URL)
            circuit = supervisor.circuit("https:example.com")
            circuit.reconfigure(timeout=1)
            await anyio.sleep(1)
            with pytest.raises(TimeoutError):
                await client.get(f"{URL}slow body")
            circuit.reconfigure(Policy(slow_call_duration=9, slow_call_rate=1, window_calls=10))
            await anyio.sleep(1)
            for _ in range(10):  # and a body may be long
                await client.get(f"{URL}slow body")
            figures = supervisor.statistics()["https:example.com"]
            assert (figures.succeeded, figures.failed, figures.times_opened) == (11, 1, 0)

    async def test_kinds_of_failure(self, http: Client) -> None:
        """A classifier is given the status."""

        def kind(error: object) -> Failure | None:
            return Failure("busy", weight=0) if isinstance(error, FailedResponse) else None

        async with Supervisor() as supervisor, http.new(classify=kind) as client:
            for _ in range(9):
                await client.get(f"{URL}503")
            assert supervisor.statistics()["https:example.com"].state is CircuitState.CLOSED

    @pytest.mark.parametrize("options", [{}, {"timeout": 10.0}])
    async def test_a_function_that_raises(self, http: Client, options: Any) -> None:
        """Comes through, and the connection is given back: the pool has only so many."""
        closed: list[str] = []

        class Body(http.package.AsyncByteStream):  # type: ignore[misc,name-defined]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield b""

            async def aclose(self) -> None:
                closed.append("closed")

        async def answer(request: Any) -> Any:
            return http.package.Response(503, stream=Body())

        def classify(_: object) -> None:
            raise LookupError("broken")

        inner = http.package.MockTransport(answer)
        async with Supervisor(), http.new(inner=inner, classify=classify, **options) as client:
            with pytest.raises(LookupError, match="broken"):
                await client.get(URL)
            assert closed == ["closed"]


class TestOddPlaces:
    """What other transports and readers may do."""

    @pytest.mark.parametrize("options", [{}, {"timeout": 5}])
    async def test_a_status_that_another_transport_raises(
        self, http: Client, options: dict[str, Any]
    ) -> None:
        """Is its error, and not our response."""

        class Inner(http.package.AsyncBaseTransport):  # type: ignore[misc,name-defined]
            async def handle_async_request(self, _: Any) -> Any:
                raise FailedResponse(503, None)

        async with Supervisor() as supervisor, http.new(inner=Inner(), **options) as client:
            with pytest.raises(FailedResponse, match="HTTP 503"):
                await client.get(URL)
            assert counted(supervisor.statistics()["https:example.com"]) == "failed"

    @pytest.mark.parametrize(
        ("path", "outcome"),
        [("read", "succeeded"), ("nothing", "succeeded"), ("503", "failed"), ("cut", "failed")],
    )
    async def test_limits_that_are_not_reached(self, http: Client, path: str, outcome: str) -> None:
        """Change nothing, also if there is nothing to wait for."""
        assert await outcome_of(http, path, timeout=5) == outcome
        assert await outcome_of(http, path, slow_call_duration=5) == outcome

    @pytest.mark.parametrize("path", ["", "cut"])
    async def test_a_reader_that_closes_and_reads_on(self, http: Client, path: str) -> None:
        """Was served when it closed; what comes later does not count."""
        async with Supervisor() as supervisor, http.new() as client:
            async with client.stream("GET", URL + path) as response:
                with contextlib.suppress(http.package.ReadError):
                    async for _ in response.aiter_raw():
                        await response.aclose()
            assert counted(supervisor.statistics()["https:example.com"]) == "succeeded"


class TestRefusals:
    """What a client is told whose request is refused."""

    async def test_our_error(self, http: Client) -> None:
        """By default; the server is not asked."""
        async with Supervisor(), http.new(failure_threshold=1) as client:
            await client.get(f"{URL}500")
            with pytest.raises(CircuitBreakerOpenError):
                await client.get(URL)
            assert http.paths == ["500"]

    async def test_an_error_of_the_clients(self, http: Client) -> None:
        """As if the server could not be reached, with ours as its cause."""
        options = {"failure_threshold": 1, "on_refusal": "transport_error"}
        async with Supervisor(), http.new(**options) as client:
            await client.get(f"{URL}500")
            with pytest.raises(http.package.TransportError) as caught:
                await client.get(URL)
            assert isinstance(caught.value, http.ours.CircuitOpenError)
            assert caught.value.retry_after == pytest.approx(7)
            assert str(caught.value.request.url) == URL
            assert isinstance(caught.value.__cause__, CircuitBreakerOpenError)
            assert str(caught.value) == str(caught.value.__cause__)
            twin = type(caught.value)(*caught.value.args)  # as task queues rebuild it
            assert (str(twin), twin.retry_after) == (str(caught.value), 0.0)

    async def test_a_response(self, http: Client) -> None:
        """With the time rounded up, and none if nobody knows it."""
        options = {"failure_threshold": 1, "on_refusal": "response"}
        async with Supervisor() as supervisor, http.new(**options) as client:
            await client.get(f"{URL}500")
            await anyio.sleep(0.5)
            response = await client.get(URL)
            assert (response.status_code, response.headers["retry-after"]) == (503, "7")
            assert response.headers["x-should-retry"] == "false"
            assert response.text.startswith(
                "circuit 'https:example.com' is open; retry after 6.5 s"
            )
            supervisor.circuit("https:example.com").force_open()
            response = await client.get(URL)
            assert response.status_code == 503
            assert "retry-after" not in response.headers

    async def test_those_that_wait(self, http: Client) -> None:
        """Come when the server has said so, the first of them as a probe; or after their wait."""
        for wait, paths in ((8, ["429", *8 * [""]]), (6, ["429"])):
            http.paths.clear()
            async with Supervisor(), http.new(failure_threshold=1, wait=wait) as client:
                await client.get(f"{URL}429")
                began, ended = anyio.current_time(), list[float]()

                async def get(client: Any = client, ended: list[float] = ended) -> None:
                    with contextlib.suppress(CircuitBreakerOpenError):
                        await client.get(URL)
                    ended.append(anyio.current_time())

                async with anyio.create_task_group() as tasks:
                    for _ in range(8):
                        tasks.start_soon(get)
            assert http.paths == paths
            assert [end - began for end in ended] == 8 * [pytest.approx(min(7, wait), abs=0.01)]

    @pytest.mark.parametrize("how", ["error", "transport_error", "response"])
    async def test_those_of_a_circuit_inside(self, http: Client, how: str) -> None:
        """Are failures, and errors like others."""

        class Inner(http.package.AsyncBaseTransport):  # type: ignore[misc,name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                return await inside.call(http.answer, request)

        async with Supervisor() as supervisor:
            inside = supervisor.circuit("inside")
            inside.force_open()
            async with http.new(inner=Inner(), on_refusal=how) as client:
                with pytest.raises(CircuitBreakerOpenError) as caught:
                    await client.get(URL)
                assert caught.value.retry_after == math.inf
                assert supervisor.statistics()["https:example.com"].failed == 1

    async def test_statuses_that_a_circuit_inside_has_seen(self, http: Client) -> None:
        """Are failures of both circuits, and responses all the same."""
        inner = http.ours.CircuitTransport(http.inner(), circuit=lambda _: "inside")
        async with Supervisor() as supervisor, http.new(inner=inner) as client:
            assert (await client.get(f"{URL}503")).status_code == 503
            assert {name: each.failed for name, each in supervisor.statistics().items()} == {
                "https:example.com": 1,
                "inside": 1,
            }


async def test_what_cannot_send(http: Client) -> None:
    """Is told at once; or each request would count as a failure of its server."""
    for inner in ("https://example.com", http.package.HTTPTransport(), type(http.inner())):
        with pytest.raises(TypeError, match="inner must be an async transport, got "):
            http.ours.CircuitTransport(inner)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"circuit": "x"}, TypeError, "circuit must be a plain function of a request, got 'x'"),
        ({"circuit": anyio.sleep}, TypeError, "circuit must be a plain function of a request"),
        (
            {"on_refusal": "raise"},
            ValueError,
            "on_refusal must be one of error, transport_error, response; got 'raise'",
        ),
        ({"failures": 500}, TypeError, "failures must be HTTP statuses, got 500"),
        ({"wait": "7"}, TypeError, "wait must be a number of seconds"),
        ({"wait": 0}, ValueError, "wait must be "),
        ({"failures": ["500"]}, TypeError, "failures must be HTTP statuses, got '500'"),
        ({"failures": [99]}, ValueError, "failures must be HTTP statuses, from 100 to 999, got 99"),
        ({"policy": {}}, TypeError, "policy"),
        ({"name": "x"}, TypeError, "got name='x', but circuit= tells the names of circuits"),
        ({"failure_threshold": 0}, ValueError, "failure_threshold"),
        ({"falure_threshold": 1}, TypeError, "failure_threshold"),
    ],
)
async def test_bad_arguments(
    http: Client, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Are errors at once that name them."""
    with pytest.raises(error, match=text):
        http.ours.CircuitTransport(http.inner(), **options)
