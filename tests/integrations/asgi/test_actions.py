"""What people do to circuits by hand: only those who may, and from no other site's page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor import CircuitBreakerOpenError, Supervisor
from supervisor.integrations.asgi import CircuitsApp, RefusalMiddleware, SupervisorMiddleware
from tests.integrations.asgi.driver import Client, Exchange, serving
from tests.support.worlds import crash, fail_times, settle_down, succeed

pytestmark = pytest.mark.anyio

JSON = ("Content-Type", "application/json")
FORM = 'send {"circuit": NAME, "action": one of force_open, release, reset}'
HTML = ("accept", "text/html")


def anybody(scope: Any) -> bool:
    return True


async def nobody(scope: Any) -> bool:
    return False


async def by_token(scope: Any) -> bool:
    """By a header, as an application might tell."""
    await settle_down()
    return (b"x-token", b"secret") in scope["headers"]


async def post(
    client: Client, content: Any, *headers: tuple[str, str], path: str = "/"
) -> Exchange:
    """Ask for something to be done."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await client.ask(path, method="POST", headers=[JSON, *headers], body=[body])


def detail(shown: Exchange) -> tuple[int, str]:
    """What is the problem."""
    assert shown.headers["content-type"] == "application/problem+json"
    return shown.status, shown.json["detail"]


@pytest.mark.parametrize(
    "name", ["payments", "a b", "</script>", "a/b", "..", ".", "events", "ü" * 255, "\"'&\\"]
)
async def test_circuits_of_whatever_name(name: str) -> None:
    """Each action, and what the circuit is like after it."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        breaker = client.supervisor.circuit(name, failure_threshold=1)
        for action, state in [
            ("force_open", "forced_open"),
            ("reset", "forced_open"),
            ("release", "closed"),
        ]:
            shown = await post(client, {"circuit": name, "action": action})
            assert shown.status == 200
            assert shown.json["circuit"]["name"] == name
            assert shown.json["circuit"]["state"] == breaker.state == state
        await fail_times(breaker, 1)
        shown = await post(client, {"circuit": name, "action": "reset"})
        assert shown.json["circuit"]["state"] == breaker.state == "closed"


async def test_without_a_function_that_allows_it_nobody_may() -> None:
    """The page has no buttons then."""
    async with serving(CircuitsApp()) as client:
        breaker = client.supervisor.circuit("payments")
        shown = await post(client, {"circuit": "payments", "action": "force_open"})
        assert (shown.status, shown.headers["allow"]) == (405, "GET, HEAD")
        assert breaker.state == "closed"
        assert 'data-buttons="no"' in (await client.ask("/", headers=[HTML])).text


async def test_only_all_circuits_are_told_what_to_do() -> None:
    """By POST and no other method."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        client.supervisor.circuit("payments")
        for path in ("/payments", "/events", "/page/page.js"):
            shown = await post(client, {}, path=path)
            assert (shown.status, shown.headers["allow"]) == (405, "GET, HEAD")
        shown = await client.ask("/", method="PUT")
        assert (shown.status, shown.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_the_application_says_who_may() -> None:
    """By the request; whoever may not has no buttons either."""
    order = {"circuit": "payments", "action": "force_open"}
    token = ("x-token", "secret")
    async with serving(CircuitsApp(authorize=by_token)) as client:
        breaker = client.supervisor.circuit("payments")
        assert detail(await post(client, order)) == (403, "you may not change circuits")
        assert breaker.state == "closed"
        assert 'data-buttons="no"' in (await client.ask("/", headers=[HTML])).text
        assert 'data-buttons="yes"' in (await client.ask("/", headers=[HTML, token])).text
        assert (await post(client, order, token)).status == 200
        assert breaker.state == "forced_open"
    async with serving(CircuitsApp(authorize=nobody)) as client:
        assert (await post(client, order)).status == 403
        assert (await client.ask("/")).json["circuits"] == []  # which anybody may read


@pytest.mark.parametrize("answer", [None, 1, "yes", object()], ids=type)
async def test_what_is_neither_yes_nor_no_is_an_error(answer: Any) -> None:
    """A redirection to a login would look like a yes."""
    async with serving(CircuitsApp(authorize=lambda _: answer)) as client:
        breaker = client.supervisor.circuit("payments")
        shown = await post(client, {"circuit": "payments", "action": "force_open"})
        assert isinstance(shown.error, TypeError)
        assert "authorize must return True or False, got " in str(shown.error)
        assert (shown.sent, breaker.state) == ([], "closed")


async def test_what_it_raises_is_the_applications() -> None:
    """Nothing is done; a server answers 500 and logs it, and a refusal is a 503 as ever."""

    async def fails(scope: Any) -> bool:
        raise LookupError("no users")

    async def is_refused(scope: Any) -> bool:
        raise CircuitBreakerOpenError("users", 3.0)

    order = {"circuit": "payments", "action": "force_open"}
    async with serving(CircuitsApp(authorize=fails)) as client:
        breaker = client.supervisor.circuit("payments")
        shown = await post(client, order)
        assert isinstance(shown.error, LookupError)
        assert (shown.sent, breaker.state) == ([], "closed")
    async with serving(RefusalMiddleware(CircuitsApp(authorize=is_refused))) as client:
        assert (await post(client, order)).headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("headers", "is_done"),
    [
        ({}, True),  # a program
        ({"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://circuits"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://circuits", "host": "circuits"}, True),
        ({"origin": "https://Circuits:8000", "host": "circuits:8000"}, True),
        ({"origin": "http://circuits:8001", "host": "circuits:8000"}, False),
        ({"origin": "http://evil", "host": "circuits"}, False),
        ({"origin": "null", "host": "circuits"}, False),
        ({"origin": "http://circuits"}, False),
        ({"origin": "null"}, False),
    ],
    ids=range(12),
)
async def test_pages_of_other_sites_are_refused(headers: dict[str, str], is_done: bool) -> None:
    """Before anybody is asked who it is: the browser would tell for them."""
    asked: list[Any] = []

    def authorize(scope: Any) -> bool:
        asked.append(scope)
        return True

    async with serving(CircuitsApp(authorize=authorize)) as client:
        breaker = client.supervisor.circuit("payments")
        order = {"circuit": "payments", "action": "force_open"}
        shown = await post(client, order, *headers.items())
        if is_done:
            assert (shown.status, breaker.state) == (200, "forced_open")
        else:
            assert detail(shown) == (403, "this was sent by a page of another site's")
            assert (breaker.state, asked) == ("closed", [])


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None]
)
async def test_what_a_form_can_send_is_refused(kind: str | None) -> None:
    """Only of other types do browsers ask before they send them to another site."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        breaker = client.supervisor.circuit("payments")
        shown = await client.ask(
            "/",
            method="POST",
            headers=[] if kind is None else [("content-type", kind)],
            body=[b'{"circuit": "payments", "action": "force_open"}'],
        )
        assert detail(shown) == (415, "the content-type must be application/json")
        assert breaker.state == "closed"


async def test_a_body_in_parts() -> None:
    """And a content-type with a parameter."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        client.supervisor.circuit("payments")
        shown = await client.ask(
            "/",
            method="POST",
            headers=[("content-type", "Application/JSON; charset=utf-8")],
            body=[b'{"circuit": "pay', b'ments", ', b'"action": "force_open"}'],
        )
        assert shown.json["circuit"]["state"] == "forced_open"


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (b"", 400, f"the body is no JSON; {FORM}"),
        (b"{", 400, f"the body is no JSON; {FORM}"),
        (b"\xff", 400, f"the body is no JSON; {FORM}"),
        (b"[" * 60_000, 400, f"the body is no JSON; {FORM}"),
        ([], 400, FORM),
        ("reset", 400, FORM),
        ({"circuit": "payments"}, 400, FORM),
        ({"circuit": "payments", "action": "stop"}, 400, FORM),
        ({"circuit": "payments", "action": ["reset"]}, 400, FORM),
        ({"circuit": ["payments"], "action": "reset"}, 400, FORM),
        ({"circuit": "Payments", "action": "reset"}, 404, "there is no circuit of this name"),
        (b" " * 65_537, 413, "the body has more than 65536 bytes"),
    ],
    ids=range(12),
)
async def test_bad_requests(content: Any, status: int, text: str) -> None:
    """Each is told what is wrong, and none does or starts anything."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        client.supervisor.circuit("payments").force_open()
        assert detail(await post(client, content)) == (status, text)
        assert list(client.supervisor) == ["payments"]
        assert client.supervisor["payments"].state == "forced_open"


async def test_a_client_that_leaves_has_asked_for_nothing() -> None:
    """What has come of the body is no whole one."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        breaker = client.supervisor.circuit("payments")
        shown = await client.ask(
            "/",
            method="POST",
            headers=[JSON],
            body=[b'{"circuit": "payments", "action": "force_open"}', None],
        )
        assert shown.status == 400
        assert (shown.error, breaker.state) == (None, "closed")


async def test_what_a_page_shows_may_be_of_another_process() -> None:
    """Then it asks again: workers share an address, and each has circuits of its own."""
    async with serving(CircuitsApp(authorize=anybody)) as client:
        breaker = client.supervisor.circuit("payments")
        order = {"circuit": "payments", "action": "force_open"}
        shown = await post(client, {**order, "run": "another"})
        assert detail(shown) == (409, "another process has answered; try again")
        assert breaker.state == "closed"
        run = client.state["circuit_history"].run
        assert (await post(client, {**order, "run": run})).status == 200
        assert breaker.state == "forced_open"


async def test_a_circuit_that_was_given_up_heeds_nobody() -> None:
    """It has no actor that would."""
    app = SupervisorMiddleware(
        CircuitsApp(authorize=anybody),
        make=lambda: Supervisor(max_restarts=0, on_give_up="refuse"),
    )
    async with serving(app, supervised=False) as client:
        await client.supervisor.circuit("payments").call(succeed)
        crash(client.supervisor, "payments")
        await settle_down()
        for action in ("force_open", "release", "reset"):
            shown = await post(client, {"circuit": "payments", "action": action})
            assert detail(shown) == (409, "the circuit was given up, and heeds nobody any more")
