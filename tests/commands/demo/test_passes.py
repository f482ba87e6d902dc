"""Whole passes in virtual time: the figures add up, and circuits keep their promise."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import anyio
import httpx
import pytest
from rich.console import Console

from supervisor import CircuitState, Supervisor, app_settings
from supervisor.commands.demo.figures import Figures
from supervisor.commands.demo.passes import Pass, Remote, circuits_enabled, create_circuits
from supervisor.commands.demo.plan import DemoError, Plan
from supervisor.commands.demo.server import Server
from supervisor.commands.demo.show import run_passes
from supervisor.commands.demo.workers import OPERATIONS

pytestmark = pytest.mark.anyio

PLAN = Plan(workers=40)


Both = tuple[Pass, Pass]


@pytest.fixture(scope="module")
def known() -> dict[str, Both]:
    """The demo's passes on each kind of event loop, for all tests that only look at them."""
    return {}


@pytest.fixture
async def both(request: pytest.FixtureRequest, known: dict[str, Both]) -> Both:
    """The passes, against a server in this very event loop, by its virtual clock."""
    kind = request.node.callspec.params["anyio_backend"]
    if kind not in known:
        server = Server(clock=anyio.current_time)
        remote = Remote("http://server", lambda: httpx.ASGITransport(server), anyio.current_time)
        async with Supervisor() as supervisor:
            console = Console(file=io.StringIO())
            known[kind] = await run_passes(PLAN, remote, console, supervisor)
    return known[kind]


async def test_circuits_spare_a_dead_server(both: Both) -> None:
    """It gets a fraction of the requests, and agents know at once; the rest is as before."""
    without, guarded = (Figures.of(measured, PLAN.recovery_window) for measured in both)
    assert guarded.dead_requests < without.dead_requests / 5
    assert guarded.rejected > 0
    assert guarded.times_opened >= len(OPERATIONS)
    assert (without.rejected, without.times_opened) == (0, 0)
    assert guarded.failed < without.failed
    assert min(without.succeeded, guarded.succeeded) > 0


async def test_the_figures_add_up(both: Both) -> None:
    """What the agents sent is what the server counted, and no call is lost."""
    for measured in both:
        figures = Figures.of(measured, PLAN.recovery_window)
        assert sum(call.requests for call in measured.calls) == figures.requests
        assert figures.succeeded + figures.failed + figures.rejected == len(measured.calls)
        failed_requests = sum(call.requests for call in measured.calls) - figures.succeeded
        assert failed_requests <= figures.dead_requests + figures.succeeded
        assert sum(measured.server.dead) == figures.dead_requests


async def test_requests_are_dead_in_the_outage_only(both: Both) -> None:
    """The server's periods, the plan's outage and the agents' clock agree."""
    for measured in both:
        server = measured.server
        assert (server.dead_from, server.dead_until) == (PLAN.dead_from, PLAN.dead_until)
        for period, (healthy, dead) in enumerate(zip(server.healthy, server.dead, strict=True)):
            middle = (period + 0.5) * server.bucket
            outage = server.dead_from < middle < server.dead_until
            assert not (healthy if outage else dead)
        before = [call for call in measured.calls if call.ended < PLAN.dead_from]
        assert before
        assert {call.outcome for call in before} == {"succeeded"}


async def test_the_service_recovers(both: Both) -> None:
    """Every circuit closes after the outage, within a recovery timeout and a few calls."""
    without, guarded = both
    for measured in (without, guarded):
        figures = Figures.of(measured, PLAN.recovery_window)
        assert figures.first_success is not None
        assert figures.recovered is not None
        assert 0 <= figures.first_success <= figures.recovered
        assert figures.recovered < PLAN.seconds - PLAN.dead_until
    for operation in OPERATIONS:
        changes = [change for change in guarded.changes if change.operation == operation.__name__]
        assert changes[-1].state is CircuitState.CLOSED
        assert changes[-1].at > PLAN.dead_until


async def test_every_change_of_state_is_kept(both: Both) -> None:
    """They are in order, and each circuit goes round by the rules."""
    _, guarded = both
    assert [change.at for change in guarded.changes] == sorted(
        change.at for change in guarded.changes
    )
    for operation in OPERATIONS:
        states = [
            change.state for change in guarded.changes if change.operation == operation.__name__
        ]
        assert states[0] is CircuitState.OPEN
        for before, after in pairwise(states):
            assert (before is CircuitState.HALF_OPEN) != (after is CircuitState.HALF_OPEN)


async def test_a_server_that_is_gone() -> None:
    """It is an error that says so."""

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    remote = Remote("http://server", lambda: httpx.MockTransport(gone))
    async with Supervisor() as supervisor:
        with pytest.raises(DemoError, match=r"server is gone: .*refused"):
            await run_passes(PLAN, remote, Console(file=io.StringIO()), supervisor)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("during", [False, True])
def test_the_settings_are_put_back(before: bool, during: bool) -> None:
    """A block has circuits on or off, and leaves the setting as it was, also by an error."""
    app_settings.circuit_breaker.enabled = before
    with pytest.raises(LookupError), circuits_enabled(during):
        assert app_settings.circuit_breaker.enabled is during
        raise LookupError
    assert app_settings.circuit_breaker.enabled is before


async def test_circuits_fit_into_the_outage() -> None:
    """Their names are the decorators', and each of them can probe the dead server."""
    for plan in (PLAN, replace(PLAN, seconds=2.0)):
        async with Supervisor() as supervisor:
            create_circuits(supervisor, plan)
            assert set(supervisor) == {f"api:{operation.__name__}" for operation in OPERATIONS}
            for name in supervisor:
                outage = plan.dead_until - plan.dead_from
                assert supervisor[name].recovery_timeout < outage / 2
