"""`initial_state`: a circuit begins in it, each time that it is started."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerSettings,
    CircuitStarted,
    CircuitState,
    Policy,
    StateChanged,
    Supervisor,
    app_settings,
    get_circuit_breaker,
    replay_file,
)
from supervisor.policy import InitialState
from tests.support.worlds import fail, fail_times, is_refused, settle_down, succeed

pytestmark = pytest.mark.anyio

ADMITS: dict[InitialState, bool] = {
    "closed": True,
    "open": False,
    "forced_open": False,
    "forced_closed": True,
    "disabled": True,
    "metrics_only": True,
}

each_state = pytest.mark.parametrize("state", ADMITS)


@each_state
async def test_a_circuit_begins_in_it(state: InitialState) -> None:
    """Its first call is answered by that, and so is whoever reads it before."""
    breaker = CircuitBreaker("x", initial_state=state)
    assert breaker.state == state
    assert await is_refused(breaker) is not ADMITS[state]
    assert breaker.state == state
    now = breaker.statistics()
    assert (now.state, now.rejected) == (state, not ADMITS[state])


@each_state
def test_it_reads_so_where_no_event_loop_runs(state: InitialState) -> None:
    """As of its first call."""
    breaker = CircuitBreaker("x", initial_state=state)
    assert breaker.state == state
    assert breaker.retry_after == {"open": 30.0, "forced_open": float("inf")}.get(state, 0.0)


@each_state
async def test_an_adopted_breaker_is_in_it(state: InitialState) -> None:
    """Before its first call, so that a module can make one that has yet to be released."""
    breaker = CircuitBreaker("x", initial_state=state)
    async with Supervisor() as supervisor:
        supervisor.adopt(breaker)
        assert supervisor.statistics()["x"].state == state
        breaker.force_open()
        assert supervisor.statistics()["x"].state == "forced_open"
        breaker.release()
        assert supervisor.statistics()["x"].state == "closed"
        assert await breaker.call(succeed) == "fine"


@each_state
async def test_a_state_set_by_hand_lasts_until_it_is_released(state: InitialState) -> None:
    """An open circuit lets probes through when its time is over."""
    breaker = CircuitBreaker("x", initial_state=state, recovery_timeout=10)
    await is_refused(breaker)
    await anyio.sleep(10)
    if state == "open":
        assert breaker.state == "half_open"
        await breaker.call(succeed)
        assert breaker.state == "closed"
        return
    assert breaker.state == state
    breaker.release()
    assert breaker.state == "closed"


async def test_an_open_circuit_names_no_failure() -> None:
    """There was none; and it says when a call may be admitted."""
    breaker = CircuitBreaker("x", initial_state="open", recovery_timeout=10)
    with pytest.raises(CircuitBreakerOpenError) as caught:
        await breaker.call(succeed)
    refusal = caught.value
    assert (refusal.reason, refusal.retry_after, refusal.last_failure) == ("open", 10.0, None)
    now = breaker.statistics()
    assert (now.times_opened, now.last_failure, now.origin) == (1, None, "here")


async def test_who_only_measures_counts_what_it_would_have_refused() -> None:
    """From the first call on."""
    breaker = CircuitBreaker("x", 1, initial_state="metrics_only")
    await fail_times(breaker, 3)
    now = breaker.statistics()
    assert (now.would_be, now.would_have_refused, now.rejected) == ("open", 2, 0)


async def test_listeners_are_told() -> None:
    """After the start; those who come afterwards are not."""
    async with Supervisor() as supervisor, supervisor.events() as early:
        supervisor.circuit("x", initial_state="forced_open")
        late = supervisor.events()
        supervisor.circuit("y")
        assert isinstance(await anext(early), CircuitStarted)
        change = await anext(early)
        assert isinstance(change, StateChanged)
        assert (change.from_state, change.to_state) == ("closed", "forced_open")
        assert (change.origin, change.at) == ("by hand", anyio.current_time())
        assert (await anext(late)).circuit == "y"
        late.close()


async def test_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A circuit of its own can be switched off by a variable."""
    monkeypatch.setenv("BINDU_CB_CIRCUITS__LLM__INITIAL_STATE", " Forced_Open ")
    app_settings.circuit_breaker = CircuitBreakerSettings()
    assert await is_refused(await get_circuit_breaker("llm"))
    assert not await is_refused(await get_circuit_breaker("search"))
    assert app_settings.circuit_breaker.policy("llm").initial_state == "forced_open"


async def test_what_is_reconfigured_stays_as_it_is() -> None:
    """It has begun already."""
    breaker = CircuitBreaker("x")
    await breaker.call(succeed)
    breaker.reconfigure(initial_state="forced_open")
    assert await breaker.call(succeed) == "fine"


async def test_a_successor_of_a_retired_one_begins_anew() -> None:
    """One that is in its initial state has nothing to remember; one that was released has."""
    async with Supervisor(idle_timeout=10) as supervisor:
        measured = supervisor.circuit("measured", initial_state="metrics_only")
        released = supervisor.circuit("released", initial_state="forced_open")
        released.release()
        await measured.call(succeed)
        await released.call(succeed)
        await anyio.sleep(20)
        assert list(supervisor) == ["released"]
        assert await measured.call(succeed) == "fine"
        assert supervisor.statistics()["measured"].started == 1
        assert measured.state == "metrics_only"


async def test_kept_circuits_go_on() -> None:
    """In the state that they were in."""
    for expected in ("metrics_only", "closed", "closed"):
        async with Supervisor(keep="process") as supervisor:
            breaker = supervisor.circuit("x", initial_state="metrics_only")
            assert breaker.state == expected
            breaker.release()


async def test_what_is_kept_in_its_initial_state_is_forgotten() -> None:
    """When it has been idle for long, as it would have been retired."""
    for number in range(2):
        async with Supervisor(keep="process", idle_timeout=1e-9) as supervisor:
            breaker = supervisor.circuit("x", initial_state="metrics_only")
            await breaker.call(succeed)
            assert supervisor.statistics()["x"].started == 1, number


async def test_a_recording_goes_on_from_it(tmp_path: Path) -> None:
    """It knows the state that there was."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", initial_state="open", recovery_timeout=10)
        recording = supervisor.record("x")
        await is_refused(breaker)
        await anyio.sleep(10)
        with pytest.raises(ConnectionError):
            await breaker.call(fail)
        await settle_down()
        file = tmp_path / "x.jsonl"
        recording.write(file)
    replay = replay_file(file)
    assert replay.agrees
    assert replay.machine.times_opened == 2


@pytest.mark.parametrize("state", ["half_open", "Open", "", None, 1, True, ["open"]], ids=repr)
def test_what_is_no_state_to_begin_in(state: object) -> None:
    """Named, with those that there are."""
    with pytest.raises(
        (TypeError, ValueError), match=r"^initial_state must be one of closed, open, forced"
    ):
        CircuitBreaker("x", initial_state=state)  # type: ignore[arg-type]


def test_a_state_is_the_word_for_it() -> None:
    """Whichever is given."""
    policy = Policy(initial_state=CircuitState.OPEN)  # type: ignore[arg-type]
    assert policy == Policy(initial_state="open")
    assert type(policy.initial_state) is str
