"""Circuits as JSON and as server-sent events, for those that an application lets see them."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from supervisor import CircuitBreaker, Policy, Supervisor
from supervisor.integrations.asgi import CircuitsApp, SupervisorMiddleware
from supervisor.integrations.asgi.history import MOST_EVENTS, MOST_OF_ONE
from supervisor.integrations.asgi.streams import KEEP_ALIVE
from tests.integrations.asgi.driver import Client, Exchange, Lifespan, serving
from tests.sharing.fleets import FaultyStore, heard
from tests.support.worlds import (
    collect_garbage,
    fail_times,
    is_refused,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio

STRICT = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


async def opened(client: Client, name: str, recovery_timeout: float = 30.0) -> CircuitBreaker:
    """A circuit that has opened."""
    breaker = client.supervisor.circuit(
        name, failure_threshold=1, recovery_timeout=recovery_timeout
    )
    await fail_times(breaker, 1)
    await settle_down()
    return breaker


# Documents


async def test_all_circuits_as_json() -> None:
    """With each figure of theirs but for texts; numbers that are infinite are null."""
    async with serving(CircuitsApp()) as client:
        await client.supervisor.circuit("search").call(succeed)
        await opened(client, "payments")
        client.supervisor.circuit("mail").force_open()
        await settle_down()
        shown = await client.ask("/")
        assert shown.status == 200
        assert shown.headers == {"content-type": "application/json", "vary": "accept", **STRICT}
        assert shown.json["sequence"] == 5
        assert shown.json["now"] == anyio.current_time()
        search, payments, mail = shown.json["circuits"]
        assert (search["name"], search["state"], search["succeeded"]) == ("search", "closed", 1)
        assert (payments["state"], payments["retry_after"]) == ("open", 30.0)
        assert (mail["state"], mail["retry_after"]) == ("forced_open", None)
        assert "last_failure" not in payments
        assert (await client.ask("/", method="HEAD")).body == b""


async def test_since_when_a_circuit_is_in_its_state() -> None:
    """By the clock that says what time it is now; null if that was missed among many events."""
    async with serving(CircuitsApp()) as client:
        await anyio.sleep(3.0)
        await opened(client, "payments", recovery_timeout=5.0)
        await anyio.sleep(1.0)
        (payments,) = (await client.ask("/")).json["circuits"]
        assert payments["since"] == 3.0
        await anyio.sleep(4.5)
        payments = (await client.ask("/payments")).json["circuit"]
        assert (payments["state"], payments["since"]) == ("half_open", 8.0)
        for _ in range(2 * MOST_EVENTS):
            client.supervisor.circuit("mail")
            client.supervisor.stop("mail")
        await settle_down()
        (payments,) = (await client.ask("/")).json["circuits"]
        assert payments["since"] is None


async def test_a_circuit_that_only_measures_enters_no_other_state() -> None:
    """Whatever it would be."""
    async with serving(CircuitsApp()) as client:
        breaker = client.supervisor.circuit("payments", failure_threshold=1)
        await anyio.sleep(3.0)
        breaker.only_measure()
        await anyio.sleep(1.0)
        await fail_times(breaker, 1)
        await settle_down()
        payments = (await client.ask("/payments")).json["circuit"]
        assert (payments["state"], payments["would_be"]) == ("metrics_only", "open")
        assert payments["since"] == 3.0


async def test_circuits_that_are_shared() -> None:
    """Whether their store is reached, and which they are; nothing where none is shared."""
    store = FaultyStore(local=("mail",))
    app = SupervisorMiddleware(CircuitsApp(), make=lambda: Supervisor(sharing=store))
    async with serving(app, supervised=False) as client:
        await opened(client, "payments")
        client.supervisor.circuit("mail")
        await heard()
        shown = (await client.ask("/")).json
        assert client.supervisor.fleet is not None
        assert shown["fleet"] == {
            "linked": True,
            "members": 1,
            "owner": client.supervisor.fleet.owner,
            "joined": 1,
            "lost": 0,
        }
        told = [(each["name"], each["shared"], each["origin"]) for each in shown["circuits"]]
        assert told == [("payments", True, "here"), ("mail", False, "here")]
        store.cut()
        await settle_down()
        shown = (await client.ask("/")).json["fleet"]
        assert (shown["linked"], shown["members"], shown["lost"]) == (False, 0, 1)
    async with serving(CircuitsApp()) as client:
        assert "fleet" not in (await client.ask("/")).json


async def test_refusals_by_reason_and_windows_are_shown() -> None:
    """As objects of their own."""
    async with serving(CircuitsApp()) as client:
        breaker = client.supervisor.circuit(
            "payments", failure_threshold=1, window_calls=4, minimum_calls=1
        )
        await fail_times(breaker, 1)
        assert await is_refused(breaker)
        circuit = (await client.ask("/payments")).json["circuit"]
        assert circuit["refusals"] == {"open": 1}
        assert set(circuit["window"]) == {"calls", "failures", "slow", "complete"}
        client.supervisor.circuit("search")
        assert (await client.ask("/search")).json["circuit"]["window"] is None


@pytest.mark.parametrize("shown", [False, True])
async def test_recent_failures_are_texts(shown: bool) -> None:
    """Shown as all of those are: if that is asked for."""
    async with serving(CircuitsApp(show_failures=shown)) as client:
        breaker = client.supervisor.circuit("payments", keep_failures=1)
        await fail_times(breaker, 2)
        circuit = (await client.ask("/payments")).json["circuit"]
        kept = circuit.get("recent_failures", [{"failure": None}])
        assert [each["failure"] for each in kept] == ["Down: down" if shown else None]


@pytest.mark.parametrize("count", [0, 50, 60])
async def test_many_circuits_come_in_parts(count: int) -> None:
    """Others have their turns in between, and the whole is JSON."""
    async with serving(CircuitsApp()) as client:
        for number in range(count):
            client.supervisor.circuit(f"tenant-{number}")
        shown = await client.ask("/")
        assert len(shown.json["circuits"]) == count
        assert len(shown.sent) == 1 + 2 + math.ceil(count / 25) + 1


async def test_circuits_may_be_stopped_while_they_are_shown() -> None:
    """Those that there still are, are shown."""

    async def stopping(scope: Any, receive: Any, send: Any) -> None:
        async def then_stop(message: Any) -> None:
            await send(message)
            supervisor = scope["state"]["supervisor"]
            has_begun = b"tenant-0" in message.get("body", b"")
            for number in range(150, 300) if has_begun else ():
                if f"tenant-{number}" in supervisor:
                    supervisor.stop(f"tenant-{number}")

        await CircuitsApp()(scope, receive, then_stop)

    async with serving(stopping) as client:
        for number in range(300):
            client.supervisor.circuit(f"tenant-{number}")
        assert len((await client.ask("/")).json["circuits"]) == 150


async def test_texts_of_failures_are_shown_if_they_are_to_be() -> None:
    """In them may be anything, such as what another user has sent."""
    for show_failures in (False, True):
        async with serving(CircuitsApp(show_failures=show_failures)) as client:
            await opened(client, "payments")
            for path in ("/", "/payments"):
                assert ("Down: down" in (await client.ask(path)).text) == show_failures


async def test_one_circuit_with_its_last_events() -> None:
    """Its policy is not among them, and there are so many at most."""
    async with serving(CircuitsApp()) as client:
        breaker = await opened(client, "payments")
        breaker.reconfigure(failure_threshold=2)
        await opened(client, "mail")
        shown = (await client.ask("/payments")).json
        assert shown["circuit"]["state"] == "open"
        started, change, reconfigured = shown["events"]
        assert started == {
            "type": "CircuitStarted",
            "sequence": 1,
            "at": 0.0,
            "circuit": "payments",
        }
        assert (change["from_state"], change["to_state"]) == ("closed", "open")
        assert set(reconfigured) == {"type", "sequence", "at", "circuit"}
        for _ in range(MOST_OF_ONE):
            breaker.force_open()
            breaker.release()
        await settle_down()
        assert len((await client.ask("/payments")).json["events"]) == MOST_OF_ONE


async def test_what_is_kept_of_a_circuit_goes_with_it() -> None:
    """Also if the listener has missed its end."""
    async with serving(CircuitsApp()) as client:
        history = client.state["circuit_history"]
        await opened(client, "payments")
        assert len(history.of("payments")) == 2
        client.supervisor.stop("payments")
        await settle_down()
        assert history.of("payments") == ()
        await opened(client, "mail")
        for number in range(600):  # in one turn, more than the buffer of a stream holds
            client.supervisor.circuit(f"tenant-{number}")
            client.supervisor.stop(f"tenant-{number}")
        client.supervisor.stop("mail")
        await settle_down()
        assert history.of("mail") == ()
        assert history.latest == 2 + 1 + 2 + 1200 + 1


@pytest.mark.parametrize(
    "name", ["a b", "naïve/ü?&#%20", "tenant:<script>", "http://127.0.0.1:80", "..", "a/"]
)
async def test_names_are_what_the_path_says(name: str) -> None:
    """Servers have unquoted it; a slash is a part of it, whatever a framework does to slashes."""
    async with serving(CircuitsApp()) as client:
        await opened(client, name)
        quoted = f"/circuits/{quote(name, safe='')}?a=b".encode()
        for path, sent in [
            (f"/{name}", b""),
            (f"/{name}/", b""),
            (f"/{name.replace('//', '/')}/", quoted),
        ]:
            shown = await client.ask(path, raw_path=sent)
            assert shown.json["circuit"]["name"] == name


async def test_it_is_mounted_wherever() -> None:
    """Some frameworks take the mount's path away, some leave it there."""
    async with serving(CircuitsApp()) as client:
        await opened(client, "payments")
        for root, path in [
            ("", ""),
            ("", "/"),
            ("/circuits", "/circuits"),
            ("/circuits", "/circuits/"),
            ("/circuits/", "/circuits/"),
            ("/api/circuits", "/"),
        ]:
            assert "circuits" in (await client.ask(path, root_path=root)).json
        for root, path in [
            ("/circuits", "/circuits/payments"),
            ("/circuits", "/payments"),
            ("/pay", "/payments"),
        ]:
            assert "circuit" in (await client.ask(path, root_path=root)).json


async def test_a_name_that_there_is_not_is_a_problem() -> None:
    """It is not repeated, and no circuit is started for it."""
    async with serving(CircuitsApp()) as client:
        shown = await client.ask("/<script>")
        assert shown.status == 404
        assert shown.headers["content-type"] == "application/problem+json"
        assert shown.json["title"] == "Not Found"
        assert "script" not in shown.text
        assert len(client.supervisor) == 0


async def test_it_is_only_read_from() -> None:
    """Another method is told which ones there are; a WebSocket is closed."""
    async with serving(CircuitsApp()) as client:
        for path in ("/", "/events", "/payments"):
            shown = await client.ask(path, method="POST")
            assert (shown.status, shown.headers["allow"]) == (405, "GET, HEAD")
            assert shown.json["title"] == "Method Not Allowed"
        assert (await client.connect("/")).sent == [{"type": "websocket.close", "code": 1000}]


async def test_without_a_supervisor_it_says_what_is_missing() -> None:
    """To whoever has mounted it, by an error in the server's log."""
    lifespan = Lifespan(CircuitsApp())
    await lifespan.run()
    assert isinstance(lifespan.error, RuntimeError)
    exchange = Exchange(
        CircuitsApp(), {"type": "http", "method": "GET", "path": "/", "headers": []}
    )
    await exchange.run()
    with pytest.raises(RuntimeError, match="wrap the application in a SupervisorMiddleware"):
        raise exchange.error or AssertionError


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"show_failures": 1}, TypeError, "show_failures must be true or false, got 1"),
        ({"stream_seconds": "1"}, TypeError, "stream_seconds must be a number of seconds, got '1'"),
        ({"stream_seconds": True}, TypeError, "stream_seconds must be a number of seconds, got T"),
        ({"stream_seconds": 0}, ValueError, "stream_seconds must be more than 0 and finite, got 0"),
        ({"stream_seconds": math.inf}, ValueError, "more than 0 and finite, got inf"),
        ({"stream_seconds": math.nan}, ValueError, "more than 0 and finite, got nan"),
        ({"authorize": True}, TypeError, "authorize must be a function of a request's "),
    ],
    ids=range(7),
)
def test_bad_options_are_refused(options: Any, error: type[Exception], text: str) -> None:
    """Each by its name and value."""
    with pytest.raises(error, match=text):
        CircuitsApp(**options)


# Server-sent events


async def test_a_new_reader_is_told_where_it_begins_and_all_that_follows() -> None:
    """Each event has an id to come back with."""
    async with serving(CircuitsApp()) as client:
        await opened(client, "payments")
        reader = client.begin("/events")
        await reader.said("Began")
        assert reader.status == 200
        assert reader.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "x-accel-buffering": "no",
            **STRICT,
        }
        assert reader.text.startswith("retry: 500\n\nid: ")
        await opened(client, "mail")
        await reader.said("StateChanged")
        began, *events = reader.events
        assert began["sequence"] == 2
        assert [(each["type"], each["circuit"]) for each in events] == [
            ("CircuitStarted", "mail"),
            ("StateChanged", "mail"),
        ]
        assert reader.ids == [f"{began['run']}-{number}" for number in (2, 3, 4)]
        reader.leave()
        await reader.ended.wait()
        assert not reader.is_whole
        assert reader.error is None


async def test_a_stream_lasts_so_long_and_its_reader_comes_back_for_the_rest() -> None:
    """Nothing is missed or told twice, and silence is broken by comments."""
    async with serving(CircuitsApp(stream_seconds=25.0)) as client:
        began = anyio.current_time()
        reader = await client.ask("/events")
        assert anyio.current_time() - began == 25.0
        assert reader.is_whole
        assert reader.text.count(":\n\n") == 2 == 25.0 // KEEP_ALIVE
        await opened(client, "payments")
        back = client.begin("/events", headers=[("Last-Event-ID", reader.ids[-1])])
        await back.said("StateChanged")
        assert [each["type"] for each in back.events] == ["CircuitStarted", "StateChanged"]
        again = client.begin("/events", headers=[("last-event-id", back.ids[-1])])
        await settle_down()
        assert again.events == []


async def test_a_reader_from_elsewhere_begins_anew() -> None:
    """Numbers of another process, or of an earlier start, mean nothing here."""
    async with serving(CircuitsApp()) as client:
        await opened(client, "payments")
        run = client.state["circuit_history"].run
        for last in ("another-1", f"{run}-3", f"{run}-²", f"{run}-", run, "", "-1"):
            reader = client.begin("/events", headers=[("last-event-id", last)])
            await reader.said("Began")


async def test_a_reader_may_ask_for_what_has_been() -> None:
    """By a query, until it has a header of its own, which tells where it has stopped since."""
    async with serving(CircuitsApp()) as client:
        await opened(client, "payments")
        run = client.state["circuit_history"].run
        asked = f"a=b&last_event_id={run}-0".encode()
        reader = client.begin("/events", query_string=asked)
        await reader.said("StateChanged")
        assert reader.ids == [f"{run}-{number}" for number in (1, 2)]
        header = [("last-event-id", reader.ids[0])]
        back = client.begin("/events", query_string=asked, headers=header)
        await back.said("StateChanged")
        assert back.ids == reader.ids[1:]


async def test_a_number_that_no_event_has() -> None:
    """However long it is, its reader begins anew."""
    async with serving(CircuitsApp()) as client:
        run = client.state["circuit_history"].run
        reader = client.begin("/events", headers=[("last-event-id", f"{run}-{'9' * 5000}")])
        await reader.said("Began")


async def test_a_slow_reader_is_told_what_it_has_missed() -> None:
    """It holds up nobody, and what it has missed for good is counted."""
    async with serving(CircuitsApp(stream_seconds=1e6)) as client:
        slow, quick = client.begin("/events"), client.begin("/events")
        await slow.said("Began")
        await quick.said("Began")
        slow.holding = anyio.Event()
        breaker = client.supervisor.circuit("payments")
        await quick.said("CircuitStarted")
        for _ in range(4):  # each time fewer than the buffer of a stream holds
            for _ in range(MOST_EVENTS // 4):
                breaker.force_open()
                breaker.release()
            await settle_down()
        slow.holding.set()
        await slow.said(f"-{2 * MOST_EVENTS + 1}\n")
        missed = [each for each in slow.events if each["type"] == "EventsMissed"]
        (gap,) = missed
        assert gap["count"] == MOST_EVENTS
        sequences = [each["sequence"] for each in slow.events]
        assert sequences[-1] - gap["sequence"] == MOST_EVENTS
        assert sequences == sorted(sequences)
        assert not any(each["type"] == "EventsMissed" for each in quick.events)
        assert len(quick.events) == 2 * MOST_EVENTS + 2


async def test_what_the_listener_itself_has_missed_is_told_too() -> None:
    """More circuits start in one turn than its buffer holds."""
    async with serving(CircuitsApp()) as client:
        reader = client.begin("/events")
        await reader.said("Began")
        for number in range(1500):
            client.supervisor.circuit(f"tenant-{number}")
        await reader.said("-1500\n")
        assert reader.events[-1] == {"type": "EventsMissed", "count": 476, "sequence": 1500}
        client.supervisor.circuit("one more")
        await reader.said("-1501\n")
        assert reader.events[-1]["circuit"] == "one more"


async def test_streams_end_with_the_application() -> None:
    """Those that begin after that end at once, by 200: a reader would not come back otherwise."""
    async with serving(CircuitsApp()) as client:
        await opened(client, "payments")
        reader = client.begin("/events")
        await reader.said("Began")
    assert reader.is_whole
    app = CircuitsApp()
    late = Exchange(app, {**reader.scope, "state": client.state})
    await late.run()
    assert (late.status, late.is_whole) == (200, True)


async def test_streams_end_with_their_supervisor() -> None:
    """Whatever has ended it."""
    made: list[Supervisor] = []

    def make() -> Supervisor:
        made.append(Supervisor(max_restarts=0))
        return made[0]

    app = SupervisorMiddleware(CircuitsApp(), make=make)
    async with serving(app, supervised=False) as client:
        from tests.support.worlds import crash

        reader = client.begin("/events")
        await reader.said("Began")
        await opened(client, "payments")
        crash(made[0], "payments")
        await reader.ended.wait()
        assert [each["type"] for each in reader.events][-2:] == ["CircuitGivenUp", "CircuitStopped"]
        assert (await client.ask("/")).json["circuits"] == []


async def test_head_of_the_stream_has_no_body() -> None:
    """And ends at once."""
    async with serving(CircuitsApp()) as client:
        shown = await client.ask("/events", method="HEAD")
        assert (shown.status, shown.body, shown.is_whole) == (200, b"", True)
        assert shown.headers["content-type"].startswith("text/event-stream")


async def test_a_server_may_raise_when_the_reader_has_left() -> None:
    """Nothing of it comes out, and no task stays behind."""
    async with serving(CircuitsApp()) as client:
        before = tasks_here()
        reader = client.begin("/events")
        await reader.said("Began")
        reader.send_error = ConnectionResetError()
        await client.supervisor.circuit("payments").call(succeed)
        await reader.ended.wait()
        assert reader.error is None
        client.supervisor.stop("payments")
        await settle_down()
        collect_garbage()
        assert tasks_here() == before


def test_a_policy_stays_private() -> None:
    """It holds functions, which have no JSON."""
    from supervisor import CircuitReconfigured
    from supervisor.integrations.asgi.documents import event_as_json

    event = CircuitReconfigured(sequence=1, at=0.0, circuit="a", policy=Policy())
    assert "policy" not in event_as_json(event, True)
