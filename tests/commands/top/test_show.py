"""What is seen of processes: live, in lines, and once."""

from __future__ import annotations

import re
from typing import Any

import anyio
import httpx
import pytest

from supervisor.commands.top.plan import Plan
from supervisor.commands.top.screen import is_live
from supervisor.commands.top.show import watch
from tests.commands.top.worlds import (
    PLAN,
    URL,
    Net,
    Pipe,
    Terminal,
    console_of,
    open_circuit,
    plain,
    server,
)
from tests.sharing.fleets import FaultyStore, heard
from tests.support.worlds import fail_times, settle_down

pytestmark = pytest.mark.anyio

ONCE = Plan((URL,), once=True)


async def seen_once(plan: Plan, net: Net, file: Terminal) -> tuple[int, list[str]]:
    status = await watch(plan, console_of(file), net)
    return status, [line.rstrip() for line in plain(file.getvalue()).splitlines()]


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


# Once


async def test_one_table() -> None:
    """After two readings, an interval apart, so that it says what happens per second."""
    async with server() as client:
        await open_circuit(client)
        client.supervisor.circuit("search")
        await settle_down()
        began = anyio.current_time()
        status, lines = await seen_once(ONCE, Net(server=client), Pipe())
        assert anyio.current_time() - began == 1.0
    assert status == 0
    assert lines[:2] == ["payments: open for 1 s after 2 failures, next probe in 19 s", ""]
    assert [line.split()[:2] for line in lines[4:]] == [["payments", "open"], ["search", "closed"]]


@pytest.mark.parametrize("file", [Pipe, Terminal])
async def test_one_table_has_all_circuits(file: type[Terminal]) -> None:
    """However many lines a terminal has."""
    async with server() as client:
        for number in range(100):
            client.supervisor.circuit(f"tenant-{number}")
        await settle_down()
        _, lines = await seen_once(ONCE, Net(server=client), file())
    assert lines[0] == "All 100 circuits closed"
    assert len(lines) == 104


async def test_one_table_in_a_pipe_has_all_columns() -> None:
    """Nothing is cut off for the sake of a terminal that is not there."""
    name = "a" * 50
    async with server() as client:
        client.supervisor.circuit(name)
        await settle_down()
        _, lines = await seen_once(ONCE, Net(server=client), Pipe())
    assert lines[2].endswith("restarts")
    assert lines[4].startswith(f"{name}  closed")


async def test_a_pattern_that_fits_nothing() -> None:
    """Is not a process without circuits."""
    async with server() as client:
        client.supervisor.circuit("search")
        await settle_down()
        plan = Plan((URL,), pattern="db:*", once=True)
        status, lines = await seen_once(plan, Net(server=client), Pipe())
    assert (status, lines) == (0, ["No circuit fits 'db:*'"])


async def test_nobody_answers() -> None:
    """It says so, and the exit status does."""
    status, lines = await seen_once(ONCE, Net(server=refuse), Pipe())
    assert (status, lines) == (1, ["No answer", f"{URL}: Connection refused"])


async def test_several_processes() -> None:
    """Each circuit is told from that of the same name elsewhere; who is silent is told, too."""
    plan = Plan((URL, "http://other/", "http://third/"), once=True)
    async with server() as one, server() as other:
        one.supervisor.circuit("search")
        await open_circuit(other, "search")
        net = Net(server=one, other=other, third=refuse)
        status, lines = await seen_once(plan, net, Pipe())
    assert status == 1
    first = (
        r"search of \d+@other: open for 1 s after 2 failures, next probe in 19 s; 1 of 3 processes"
    )
    assert re.fullmatch(f"{first} does not answer", lines[0])
    assert lines[1] == "http://third/: Connection refused"
    assert [re.sub(r"\d+@", "", line.split()[-1]) for line in lines[5:]] == ["other", "server"]


async def test_circuits_that_are_shared() -> None:
    """Who has brought about their states, and whether their store is reached."""
    store = FaultyStore()
    async with server(store) as one, server(store) as other:
        await open_circuit(one)
        other.supervisor.circuit("search")
        other.supervisor.circuit("payments")
        await settle_down()
        await heard()
        status, lines = await seen_once(ONCE, Net(server=other), Pipe())
        assert status == 0
        assert re.match("payments: open by the fleet for 1 s, next probe in ", lines[0])
        assert lines[1] == "the fleet has 2 supervisors (joined 1 time, lost 0 times)"
        assert lines[3].endswith("restarts  origin")
        assert [line.split()[0] for line in lines[5:]] == ["payments", "search"]
        assert lines[5].endswith("fleet")
        store.cut()
        await settle_down()
        _, lines = await seen_once(ONCE, Net(server=other), Pipe())
        told = "the fleet is lost: each circuit decides alone (joined 1 time, lost 1 time)"
        assert lines[1] == told


async def test_several_processes_and_their_fleets() -> None:
    """How many of those that share circuits reach their store."""
    cut = FaultyStore()
    plan = Plan((URL, "http://other/", "http://third/", "http://fourth/"), once=True)
    async with server(FaultyStore()) as one, server(cut) as other, server() as third:
        cut.cut()
        await settle_down()
        net = Net(server=one, other=other, third=third, fourth=refuse)
        _, lines = await seen_once(plan, net, Pipe())
    told = "1 of 2 processes are linked to their fleet (joined 2 times, lost 1 time)"
    assert lines[2] == told


# In lines


async def printed(plan: Plan, net: Net, *steps: Any) -> list[str]:
    """The lines that are printed while steps are gone, without the time of day."""
    file = Pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, plan, console_of(file), net)
        await anyio.sleep(0.5)  # in the middle between two readings
        for step in steps:
            await anyio.sleep(1.0)
            await step()
        await anyio.sleep(1.0)
        tasks.cancel_scope.cancel()
    lines = file.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    return [line[9:] for line in lines]


async def test_a_line_for_each_change() -> None:
    """After one that says how things stand; nothing where nothing changes."""
    async with server() as client:
        await open_circuit(client, "mail")
        payments = client.supervisor.circuit("payments", failure_threshold=2, recovery_timeout=4)
        await settle_down()

        async def open_payments() -> None:
            await fail_times(payments, 2)

        async def close_payments() -> None:
            payments.reset()

        async def stop_payments() -> None:
            client.supervisor.stop("payments")

        async def nothing() -> None:
            pass

        lines = await printed(
            PLAN, Net(server=client), open_payments, close_payments, nothing, stop_payments
        )
    assert lines == [
        "mail: open for 0 s after 2 failures, next probe in 20 s",
        "mail: open for 0 s after 2 failures, next probe in 20 s",
        "payments: open for 0 s after 2 failures, next probe in 4 s, was closed",
        "payments: closed for 0 s, was open",
        "payments: stopped",
    ]


async def test_a_fleet_that_is_lost() -> None:
    """And is there again."""
    store = FaultyStore()

    async def cut() -> None:
        store.cut()

    async def mend() -> None:
        store.mend()
        await anyio.sleep(2.0)

    async with server(store) as client:
        lines = await printed(PLAN, Net(server=client), cut, mend)
    assert lines == [
        "No circuits yet",
        "the fleet is lost: each circuit decides alone",
        "the fleet has 1 supervisor",
    ]


async def test_a_circuit_that_has_closed_and_opened_again() -> None:
    """It is open at both readings, and has changed nevertheless."""
    async with server() as client:
        payments = client.supervisor.circuit("payments", failure_threshold=1)
        await settle_down()

        async def fail() -> None:
            payments.reset()
            await fail_times(payments, 1)

        lines = await printed(PLAN, Net(server=client), fail, fail)
    assert [line.partition(",")[0] for line in lines] == [
        "payments: closed",
        "payments: open for 0 s after 1 failure",
        "payments: open for 0 s after 1 failure",
    ]


async def test_callers_that_wait_and_restarts() -> None:
    """They are changes, too; how many wait is none."""
    figures = [
        {"waiting": 1},
        {"waiting": 2},
        {"restarts": 1},
        {"state": "metrics_only", "would_be": "open", "restarts": 1},
        {"state": "metrics_only", "would_be": "closed", "restarts": 1},
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        nothing = dict.fromkeys(
            ("failure_count", "retry_after", "started", "rejected", "waiting", "in_flight"), 0
        )
        nothing |= {"times_opened": 0, "restarts": 0}
        base = {"name": "a", "state": "closed", "would_be": "closed", "running": True}
        one = {**base, **nothing, "refusals": {}, **figures[0]}
        del figures[: len(figures) > 1]
        return httpx.Response(200, json={"process": 1, "run": "a", "now": 0, "circuits": [one]})

    async def wait() -> None:
        await anyio.sleep(2.0)

    lines = await printed(PLAN, Net(server=answer), wait, wait)
    by_hand = "a: only measuring, admits every call until it is released"
    assert lines == [
        "a: closed",
        "a: closed, 1 call waiting",
        "a: closed, restarted 1 time",
        f"{by_hand}; would be open, restarted 1 time, was closed",
        f"{by_hand}, restarted 1 time",
    ]


async def test_a_server_that_goes_away_and_comes_back() -> None:
    """It says so, once each; after another start, what needs attention is told anew."""
    plan = Plan((URL, "http://other/"))
    async with server() as one, server() as anew:
        net = Net(server=one, other=one)
        one.supervisor.circuit("search")
        await open_circuit(anew)

        async def go() -> None:
            net.hosts["server"] = refuse
            await anyio.sleep(5.0)

        async def come_back() -> None:
            net.hosts["server"] = one

        async def begin_anew() -> None:
            net.hosts["server"] = anew

        lines = await printed(plan, net, go, come_back, begin_anew)
    assert lines == [
        "All 2 circuits of 2 processes closed",
        f"{URL}: Connection refused; trying again",
        f"{URL}: answers again",
        f"{URL}: began anew, or is another process",
        f"{URL}: payments: open for 9 s after 2 failures, next probe in 11 s",
    ]


# Live


async def frames(plan: Plan, net: Net, seconds: float, **terminal: Any) -> list[str]:
    """What a terminal shows, one screen after the other."""
    file = Terminal()
    with anyio.move_on_after(seconds):
        await watch(plan, console_of(file, **terminal), net)
    text = file.getvalue()
    assert text.startswith("\x1b[?1049h")
    assert text.endswith("\x1b[?25h\x1b[?1049l")  # and the terminal is as it was
    return [plain(each) for each in text.split("\x1b[H")[1:]]


async def test_a_live_table() -> None:
    """Its times go on between two readings."""
    async with server() as client:
        await open_circuit(client)
        screens = await frames(Plan((URL,), interval=60.0), Net(server=client), 10.2)
    told = [screen.splitlines()[0].strip() for screen in screens if "payments" in screen]
    assert told[0] == "payments: open for 0 s after 2 failures, next probe in 20 s"
    assert told[-1] == "payments: open for 10 s after 2 failures, next probe in 10 s"
    assert len(told) == 20


async def test_a_low_terminal() -> None:
    """What needs attention is seen, and how many more there are."""
    async with server() as client:
        for number in range(30):
            client.supervisor.circuit(f"tenant-{number:02}")
        await open_circuit(client)
        *_, screen = await frames(PLAN, Net(server=client), 1.7, height=12)
    lines = [line.rstrip() for line in screen.splitlines()]
    assert len(lines) == 12
    assert lines[4].split()[0] == "payments"
    assert lines[-1] == "and 25 circuits more" or lines[-2] == "and 25 circuits more"


async def test_a_terminal_of_one_line() -> None:
    """It shows what there is room for."""
    async with server() as client:
        await open_circuit(client)
        *_, screen = await frames(PLAN, Net(server=client), 1.7, height=1, width=10)
    assert screen.strip() == "payments:"


async def test_silence_on_a_terminal() -> None:
    """It is asked again and again, until it answers."""
    async with server() as client:
        await open_circuit(client)
        net = Net(server=refuse)
        assert "Connection refused" in (await frames(PLAN, net, 3.2))[-1]
        assert len(net.requests) == 4


async def test_a_terminal_that_cannot_move_its_cursor() -> None:
    """It gets lines, as a pipe does."""
    assert not is_live(console_of(Terminal(), term="dumb"))
    assert not is_live(console_of(Pipe()))
    assert is_live(console_of(Terminal()))
