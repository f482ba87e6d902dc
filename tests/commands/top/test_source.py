"""Where readings come from, and what is said if there are none."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from supervisor.commands.top.plan import Plan, TopError
from supervisor.commands.top.source import PATIENCE, addresses_of, new_client
from tests.commands.top.worlds import PLAN, URL, Net, open_circuit, process_at, server
from tests.support.worlds import is_refused, settle_down

pytestmark = pytest.mark.anyio


async def test_a_process_says_how_its_circuits_are() -> None:
    """All that is shown, as it is by its own clock."""
    async with server() as client, process_at(Net(server=client)) as process:
        assert process.problem == "no answer yet"
        client.supervisor.circuit("search")
        await settle_down()
        await anyio.sleep(5.0)
        await open_circuit(client)
        await process.read()
        await anyio.sleep(2.0)
        assert await is_refused(client.supervisor["payments"])
        await process.read()
        assert process.problem == ""
        search, payments = process.rows
        now = anyio.current_time()
        assert (search.since, search.calls) == (pytest.approx(now - 7.0), 0.0)
        assert (payments.since, payments.probe) == (now - 2.0, now + 18.0)
        assert (payments.calls, payments.refusals, payments.reason) == (0.5, 0.5, "open")
        assert payments.process.endswith("@server")


async def test_another_start_is_told_from_the_same_one() -> None:
    """What has been counted before is none of it."""
    async with server() as one, server() as other, process_at(net := Net(server=one)) as process:
        for client in (one, other):
            client.supervisor.circuit("search")
        await settle_down()
        for client, is_other in ((one, False), (one, False), (other, True), (other, False)):
            net.hosts["server"] = client
            await process.read()
            await anyio.sleep(1.0)
            assert process.has_begun_anew == is_other
            (row,) = process.rows
            assert (row.calls is None) == (is_other or len(net.requests) == 1)


async def unread(answer: Callable[[httpx.Request], Any], url: str = URL) -> str:
    """Why an answer is no reading."""
    async with process_at(Net(server=answer), url) as process:
        await process.read()
        assert list(process.rows) == []
        return process.problem


def answering(status: int = 200, **answer: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, **answer)


NO_CIRCUITS = "its JSON is not that of a CircuitsApp"
AS_JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (answering(404), "it answers 404: there is no CircuitsApp at this path"),
        (
            answering(401),
            "it answers 401: it wants a header such as Authorization, see --header",
        ),
        (answering(500), "it answers 500"),
        (
            answering(html="<h1>hello</h1>"),
            "it answers with text/html, not JSON: name the path of a CircuitsApp",
        ),
        (
            answering(headers={"content-type": ""}),
            "it answers with no content type, not JSON: name the path of a CircuitsApp",
        ),
        (answering(json=[]), NO_CIRCUITS),
        (answering(json={"circuits": 1}), NO_CIRCUITS),
        (answering(content=b"{", headers=AS_JSON), NO_CIRCUITS),
        (answering(content=b"\xff", headers=AS_JSON), NO_CIRCUITS),
        (answering(content=b"[" * 100_000, headers=AS_JSON), NO_CIRCUITS),
        (answering(307, headers={"location": URL}), "redirects go round in circles"),
        (
            answering(302, headers={"location": "http://elsewhere/login"}),
            "it redirects to http://elsewhere/login: if that is right, name it",
        ),
        (
            answering(302, headers={"location": "https://server/circuits/"}),
            "it redirects to https://server/circuits/: if that is right, name it",
        ),
        (answering(302, headers={"location": "http://a:b/"}), "Invalid URL in location header"),
        (answering(304), "it answers 304"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_answers_that_are_none(answer: Any, problem: str) -> None:
    """One line tells what is wrong, and what to do."""
    assert problem in await unread(answer)


def raising(error: Exception, behind: BaseException) -> Callable[[httpx.Request], Any]:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error from behind

    return answer


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL] verification failed")
    error.verify_message = "self-signed certificate"
    return error


def tls_error() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] wrong version")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("behind", "problem"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('::1', 1)"), "Connection refused"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (certificate_error(), "TLS: self-signed certificate"),
        (tls_error(), "TLS: WRONG_VERSION_NUMBER"),
        (OSError(None, "odd\x1b[2J"), r"odd\x1b[2J"),
        (EOFError(), "all attempts failed"),
        (
            ExceptionGroup("", [ConnectionRefusedError(111, ""), OSError(101, "")]),
            "Connection refused",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whom_it_cannot_reach(behind: BaseException, problem: str) -> None:
    """What the operating system says, however many libraries are in between."""
    assert await unread(raising(httpx.ConnectError("all attempts failed"), behind)) == problem


async def test_a_server_that_hangs() -> None:
    """It is given up after a while."""

    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    began = anyio.current_time()
    assert await unread(never) == "no answer within 10 s"
    assert anyio.current_time() - began == PATIENCE


async def test_a_redirect_at_the_same_server() -> None:
    """As frameworks do if a slash is missing at the end; the headers go along."""

    def redirected(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer x"
        if request.url.path == "/circuits":
            return httpx.Response(307, headers={"location": "/circuits/"})
        return httpx.Response(200, json={"process": 1, "run": "a", "now": 0, "circuits": []})

    plan = Plan((URL,), headers=(("Authorization", "Bearer x"),))
    async with process_at(Net(server=redirected), "http://server/circuits", plan) as process:
        await process.read()
        assert process.problem == ""


async def test_json_is_asked_for() -> None:
    """The same address shows a page to browsers."""
    async with process_at(net := Net(server=answering(json={}))) as process:
        await process.read()
        assert net.requests[0].headers["accept"] == "application/json"


async def test_a_password_is_not_shown() -> None:
    """But it is sent."""
    net = Net(server=answering(404))
    async with process_at(net, "http://me:secret@server/circuits/") as process:
        await process.read()
        assert process.name == "http://server/circuits/"
        assert net.requests[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "url", ["", "server:8000", "ftp://server/", "http://", "http://[::1", "http://a:b/", "\x00"]
)
def test_what_is_no_address(url: str) -> None:
    """It is told by its value."""
    with pytest.raises(TopError, match="is no address") as told:
        addresses_of(Plan((url,)))
    assert repr(url) in str(told.value)


def test_an_environment_that_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before anything is asked."""
    monkeypatch.setenv("HTTP_PROXY", "gopher://server")
    with pytest.raises(TopError, match="a proxy or certificate of the environment is of no use"):
        new_client(PLAN)
