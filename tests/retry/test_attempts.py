"""Retry loops under a circuit: what it hears, when it ends a loop, and what is cancelled."""

from __future__ import annotations

import math

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    Supervisor,
    app_settings,
    execute_with_retry,
    retry_api_call,
    retry_worker_operation,
    with_circuit_breaker,
)
from supervisor.circuit import give_up
from supervisor.supervision import supervisors_here
from tests.support.retries import (
    CLOSED,
    DECORATORS,
    EACH_MODE,
    EACH_TYPE,
    HALF_OPEN,
    OPEN,
    Dependency,
    counted,
    down,
    forever,
    in_mode,
    open_circuit,
    patient,
    statistics,
    storage,
)

pytestmark = pytest.mark.anyio


# guard="loop"


@pytest.mark.usefixtures("enabled")
@EACH_TYPE
async def test_an_exhausted_loop_is_one_failure(operation_type: str) -> None:
    """The circuit hears of a loop once; an open one refuses with no attempt and no wait."""
    dependency = Dependency(ConnectionError())
    fetch = DECORATORS[operation_type](2)(dependency.fetch)
    circuit = f"{operation_type}:fetch"
    for loops in (1, 2, 3):
        with pytest.raises(ConnectionError):
            await fetch()
        assert counted(circuit) == {"started": loops, "failed": loops}
        assert statistics(circuit).state is (OPEN if loops == 3 else CLOSED)
    started = anyio.current_time()
    with pytest.raises(CircuitBreakerOpenError) as refused:
        await fetch()
    assert refused.value.operation_name == circuit
    assert refused.value.retry_after == pytest.approx(30)
    assert anyio.current_time() == started
    assert dependency.attempts == 6


@pytest.mark.usefixtures("enabled")
async def test_a_loop_that_succeeds_at_last_is_a_success() -> None:
    """Failed attempts of a loop that ends well are none of the circuit's business."""
    app_settings.circuit_breaker.failure_threshold = 1
    dependency = Dependency(*down(4), "done")
    assert await storage()(dependency.fetch)() == "done"
    assert counted("storage:fetch") == {"started": 1, "succeeded": 1}
    assert statistics("storage:fetch").state is CLOSED


@pytest.mark.usefixtures("enabled")
async def test_a_loop_is_the_probe() -> None:
    """After the recovery timeout one loop is admitted, and closes the circuit if it ends well."""
    breaker = await open_circuit("storage:fetch")
    await anyio.sleep(30)
    dependency = Dependency(ConnectionError(), "done")
    assert await storage()(dependency.fetch)() == "done"
    assert dependency.attempts == 2
    assert breaker.state is CLOSED


@pytest.mark.usefixtures("enabled")
async def test_a_loop_under_way_is_not_stopped() -> None:
    """A loop that was admitted goes on when another task opens the circuit meanwhile."""
    dependency = Dependency(ConnectionError(), ConnectionError(), "done")
    results: list[object] = []

    async def run() -> None:
        results.append(await storage()(dependency.fetch)())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.5)
        await open_circuit("storage:fetch")
    assert results == ["done"]
    assert statistics("storage:fetch").state is OPEN
    assert statistics("storage:fetch").stale == 1


@pytest.mark.usefixtures("enabled")
async def test_the_circuit_has_its_settings_from_its_key() -> None:
    """Overrides for `type:NAME` hold for the circuit of a decorated function."""
    app_settings.circuit_breaker.circuits = {"api:fetch": {"failure_threshold": 1}}  # type: ignore[dict-item]
    for decorator, state in ((retry_api_call, OPEN), (retry_worker_operation, CLOSED)):
        with pytest.raises(ConnectionError):
            await decorator(1)(Dependency(ConnectionError()).fetch)()
        circuit = "api:fetch" if decorator is retry_api_call else "worker:fetch"
        assert statistics(circuit).state is state


@pytest.mark.usefixtures("enabled")
async def test_the_circuit_belongs_to_the_supervisor_that_was_entered() -> None:
    """Inside a Supervisor's block, also its first circuit is its own."""
    async with Supervisor() as supervisor:
        assert await retry_api_call()(Dependency("done").fetch)() == "done"
        assert await execute_with_retry(Dependency("done").fetch) == "done"
        assert list(supervisor) == ["api:fetch", "adhoc:fetch"]
        assert supervisors_here() == [supervisor]


# guard="attempt"


@pytest.mark.usefixtures("enabled")
@EACH_TYPE
async def test_every_attempt_is_reported(operation_type: str) -> None:
    """Each attempt counts, and a success at last forgets the failures before it."""
    dependency = Dependency(*down(2), "done")
    fetch = DECORATORS[operation_type](guard="attempt")(dependency.fetch)
    assert await fetch() == "done"
    circuit = f"{operation_type}:fetch"
    assert counted(circuit) == {"started": 3, "failed": 2, "succeeded": 1}
    assert statistics(circuit).failure_count == 0


@pytest.mark.usefixtures("enabled")
async def test_a_loop_stops_when_its_circuit_opens() -> None:
    """The attempt that opens the circuit is the last: no wait, no refusal, its own error."""
    errors = down(5)
    dependency = Dependency(*errors)
    fetch = storage(guard="attempt")(dependency.fetch)
    with pytest.raises(ConnectionError) as caught:
        await fetch()
    assert caught.value is errors[2]
    assert dependency.waits == pytest.approx([1, 2])
    assert anyio.current_time() == dependency.times[-1]
    assert counted("storage:fetch") == {"started": 3, "failed": 3}
    assert statistics("storage:fetch").state is OPEN


@pytest.mark.usefixtures("enabled")
async def test_a_refusal_is_not_tried_again() -> None:
    """An open circuit refuses the first attempt, and that is all."""
    await open_circuit("storage:fetch")
    dependency = Dependency("done")
    started = anyio.current_time()
    with pytest.raises(CircuitBreakerOpenError) as refused:
        await storage(guard="attempt")(dependency.fetch)()
    assert refused.value.operation_name == "storage:fetch"
    assert dependency.attempts == 0
    assert anyio.current_time() == started
    assert statistics("storage:fetch").rejected == 1


@pytest.mark.usefixtures("enabled")
async def test_a_circuit_that_others_open_stops_a_loop_that_sleeps() -> None:
    """If another task opens the circuit while a loop sleeps, no further attempt is made."""
    dependency = Dependency(ConnectionError())
    refusals: list[CircuitBreakerOpenError] = []

    async def run() -> None:
        with pytest.raises(CircuitBreakerOpenError) as refused:
            await storage(guard="attempt")(dependency.fetch)()
        refusals.append(refused.value)

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.5)
        await open_circuit("storage:fetch")
    assert dependency.attempts == 1
    assert anyio.current_time() - started == pytest.approx(1)
    assert refusals[0].retry_after == pytest.approx(29.5)
    assert statistics("storage:fetch").rejected == 1


@pytest.mark.usefixtures("enabled")
async def test_a_circuit_that_others_open_stops_a_loop_in_its_attempt() -> None:
    """If another task opens the circuit during an attempt that fails, there is no other."""
    error = ConnectionError()
    attempts = 0

    @storage(guard="attempt")
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        await anyio.sleep(1)
        raise error

    async def run() -> None:
        with pytest.raises(ConnectionError) as caught:
            await fetch()
        assert caught.value is error

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.5)
        await open_circuit("storage:fetch")
    assert attempts == 1
    assert anyio.current_time() - started == pytest.approx(1)
    assert statistics("storage:fetch").stale == 1


@pytest.mark.usefixtures("enabled")
async def test_a_circuit_that_has_recovered_does_not_stop_a_loop() -> None:
    """An attempt that outlasts an outage of its circuit may be followed by another one."""
    attempts = 0

    @storage(guard="attempt")
    async def fetch() -> str:
        nonlocal attempts
        attempts += 1
        await anyio.sleep(40)
        if attempts == 1:
            raise ConnectionError
        return "done"

    results: list[str] = []

    async def run() -> None:
        results.append(await fetch())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.5)
        await open_circuit("storage:fetch")
        await anyio.sleep(39)
        assert statistics("storage:fetch").state is HALF_OPEN
    assert results == ["done"]
    assert statistics("storage:fetch").state is CLOSED


@pytest.mark.usefixtures("enabled")
async def test_a_failed_probe_stops_a_loop() -> None:
    """A probe that fails opens the circuit again, so that it is the loop's last attempt."""
    await open_circuit("storage:fetch")
    await anyio.sleep(30)
    dependency = Dependency(ConnectionError())
    with pytest.raises(ConnectionError):
        await storage(guard="attempt")(dependency.fetch)()
    assert dependency.attempts == 1
    assert statistics("storage:fetch").times_opened == 2


@pytest.mark.usefixtures("enabled")
async def test_many_loops_stop_together() -> None:
    """A herd of loops does not hammer: when one opens the circuit, the others end as well."""
    attempts = 0

    @storage(guard="attempt")
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        await anyio.sleep(0.001 * attempts)
        raise ConnectionError

    async def run() -> None:
        with pytest.raises((ConnectionError, CircuitBreakerOpenError)):
            await fetch()

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(run)
    # A hundred first attempts were under way when the third failure opened the circuit; only
    # the two loops that had failed before were still to try again, and were refused.
    assert attempts == 100
    assert statistics("storage:fetch").rejected == 2


# wait_for_recovery


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_sleeps_until_recovery() -> None:
    """When its attempt opens the circuit, the loop goes on as soon as a probe is admitted."""
    dependency = Dependency(*down(3), "done")
    started = anyio.current_time()
    assert await patient(4)(dependency.fetch)() == "done"
    assert dependency.waits == pytest.approx([1, 2, 30], abs=0.01)
    assert dependency.waits[-1] >= 30
    assert anyio.current_time() - started == pytest.approx(33, abs=0.01)
    assert counted("storage:fetch") == {"started": 4, "failed": 3, "succeeded": 1}
    assert statistics("storage:fetch").state is CLOSED


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_has_so_many_attempts() -> None:
    """Attempts stay bounded: each failed probe costs one, and the last error comes out."""
    app_settings.circuit_breaker.failure_threshold = 1
    errors = down(4)
    dependency = Dependency(*errors)
    with pytest.raises(ConnectionError) as caught:
        await patient(4)(dependency.fetch)()
    assert caught.value is errors[3]
    assert dependency.waits == pytest.approx([30, 30, 30], abs=0.01)
    assert anyio.current_time() == dependency.times[-1]
    assert counted("storage:fetch") == {"started": 4, "failed": 4}
    assert statistics("storage:fetch").times_opened == 4


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_waits_after_a_refusal() -> None:
    """A refusal uses up an attempt, and the loop sleeps just as long as it said."""
    await open_circuit("storage:fetch")
    await anyio.sleep(10)
    dependency, started = Dependency("done"), anyio.current_time()
    assert await patient(2)(dependency.fetch)() == "done"
    assert anyio.current_time() - started == pytest.approx(20, abs=0.01)
    assert dependency.attempts == 1
    assert statistics("storage:fetch").rejected == 1


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_ends_with_its_last_attempt() -> None:
    """A refusal of the last attempt is raised at once."""
    await open_circuit("storage:fetch")
    dependency, started = Dependency("done"), anyio.current_time()
    with pytest.raises(CircuitBreakerOpenError):
        await patient(1)(dependency.fetch)()
    assert dependency.attempts == 0
    assert anyio.current_time() == started


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_waits_at_least_its_backoff() -> None:
    """A recovery timeout shorter than the backoff does not make a loop hurry."""
    app_settings.circuit_breaker.failure_threshold = 1
    app_settings.circuit_breaker.recovery_timeout = 0.25
    dependency = Dependency(*down(3), "done")
    assert await patient()(dependency.fetch)() == "done"
    assert dependency.waits == pytest.approx([1, 2, 4], abs=0.01)


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_waits_for_a_probe_to_end() -> None:
    """A half-open circuit cannot say how long its probe takes: the loop waits its backoff."""
    breaker = await open_circuit("storage:fetch")
    await anyio.sleep(30)
    dependency, started = Dependency("done"), anyio.current_time()

    async def probe() -> None:
        with await breaker.acquire():
            await anyio.sleep(1.5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probe)
        await anyio.sleep(0.25)
        assert await patient()(dependency.fetch)() == "done"
    assert anyio.current_time() - started == pytest.approx(3.25, abs=0.01)
    assert statistics("storage:fetch").rejected == 2


@pytest.mark.usefixtures("enabled")
async def test_a_recovery_without_end_is_not_waited_for() -> None:
    """A circuit that refuses for good ends a patient loop at once."""
    async with Supervisor() as supervisor:
        supervisor.circuit("storage:fetch")
        circuit = supervisor.find("storage:fetch")
        assert circuit is not None
        give_up(circuit, "refuse")
        dependency, started = Dependency("done"), anyio.current_time()
        with pytest.raises(CircuitBreakerOpenError) as refused:
            await patient()(dependency.fetch)()
        assert refused.value.retry_after == math.inf
        assert dependency.attempts == 0
        assert anyio.current_time() == started


@pytest.mark.parametrize("is_patient", [False, True])
async def test_a_circuit_that_is_forced_open_during_an_attempt_ends_a_loop(
    is_patient: bool,
) -> None:
    """By the attempt's own error, at once: the next one would be refused until the release."""
    breaker, attempts = CircuitBreaker("search"), 0

    @retry_api_call(breaker=breaker, guard="attempt", wait_for_recovery=is_patient)
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        breaker.force_open()
        raise ConnectionError

    started = anyio.current_time()
    with pytest.raises(ConnectionError):
        await fetch()
    assert (attempts, anyio.current_time()) == (1, started)


async def test_a_patient_loop_waits_for_the_end_of_a_time_by_hand() -> None:
    """If a circuit is forced open for a time, that is known; before the loop, and within it."""
    breaker, times = CircuitBreaker("search"), list[float]()
    await breaker.call(anyio.sleep, 0)
    started = anyio.current_time()
    breaker.force_open(seconds=50)

    @retry_api_call(3, breaker=breaker, guard="attempt", wait_for_recovery=True)
    async def fetch() -> str:
        times.append(anyio.current_time() - started)
        if len(times) == 1:
            breaker.force_open(seconds=60)
            raise ConnectionError
        return "done"

    assert await fetch() == "done"
    assert times == pytest.approx([50, 110], abs=0.01)
    assert breaker.state is CLOSED


@pytest.mark.usefixtures("enabled")
async def test_another_circuits_refusal_is_not_waited_for() -> None:
    """A patient loop waits for its own circuit only, whatever it guards within."""
    await open_circuit("inner")
    calls = Dependency("done")
    fetch = patient()(with_circuit_breaker("inner")(calls.fetch))
    started = anyio.current_time()
    with pytest.raises(CircuitBreakerOpenError) as refused:
        await fetch()
    assert refused.value.operation_name == "inner"
    assert anyio.current_time() == started
    assert counted("storage:fetch") == {"started": 1, "failed": 1}


async def test_a_patient_loop_is_an_ordinary_one_while_disabled() -> None:
    """With circuits disabled, there is no recovery to wait for."""
    dependency = Dependency(ConnectionError())
    with pytest.raises(ConnectionError):
        await patient()(dependency.fetch)()
    assert dependency.waits == pytest.approx([1, 2, 4, 8])


# Many tasks at once, and cancellation


@EACH_MODE
async def test_loops_at_once_do_not_mix(mode: str) -> None:
    """Tasks that share a decorated function each get their own attempts, result and error."""
    app_settings.circuit_breaker.failure_threshold = 1000
    errors = {number: down(4) for number in range(40)}
    attempts = dict.fromkeys(errors, 0)
    outcomes: dict[int, object] = {}

    @in_mode(mode, max_attempts=4)
    async def fetch(number: int, *, times: int) -> int:
        attempts[number] += 1
        await anyio.sleep(number % 7 / 10)
        if attempts[number] <= times:
            raise errors[number][attempts[number] - 1]
        return number

    async def run(number: int) -> None:
        try:
            outcomes[number] = await fetch(number, times=number % 5)
        except ConnectionError as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number in errors:
            tasks.start_soon(run, number)
    for number in errors:
        failures = number % 5
        assert attempts[number] == min(failures + 1, 4)
        assert outcomes[number] == (errors[number][3] if failures == 4 else number)


@EACH_MODE
async def test_an_attempt_can_be_cancelled(mode: str) -> None:
    """A cancellation ends attempt and loop at once, and counts as cancelled, not as failed."""
    attempts = 0

    @in_mode(mode)
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        await forever()

    started = anyio.current_time()
    with anyio.move_on_after(1) as scope:
        await fetch()
    assert scope.cancelled_caught
    assert anyio.current_time() - started == pytest.approx(1)
    assert attempts == 1
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "cancelled": 1}


@pytest.mark.parametrize("failures", [0, 1], ids=["the first", "another"])
@EACH_MODE
async def test_no_cancelled_attempt_is_made_again(mode: str, failures: int) -> None:
    """Also if `retry_on` says yes to all: it is not asked, since asyncio cancels only once."""
    attempts = 0
    asked: list[BaseException] = []

    def all_errors(error: BaseException) -> bool:
        asked.append(error)
        return True

    @in_mode(mode, retry_on=all_errors)
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise ConnectionError
        scope.cancel()
        await forever()

    with anyio.CancelScope() as scope:
        await fetch()
    assert scope.cancelled_caught
    assert attempts == failures + 1
    assert [type(error) for error in asked] == [ConnectionError] * failures


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("disabled", None, id="disabled"),
        pytest.param("loop", {"started": 1, "cancelled": 1}, id="loop"),
        pytest.param("attempt", {"started": 1, "failed": 1}, id="attempt"),
        pytest.param("patient", {"started": 1, "failed": 1}, id="patient"),
    ],
)
async def test_a_wait_can_be_cancelled(mode: str, expected: dict[str, int] | None) -> None:
    """A cancellation between two attempts ends the loop, and is itself no failure."""
    dependency = Dependency(ConnectionError())
    started = anyio.current_time()
    with anyio.move_on_after(0.5) as scope:
        await in_mode(mode, min_wait=1)(dependency.fetch)()
    assert scope.cancelled_caught
    assert anyio.current_time() - started == pytest.approx(0.5)
    assert dependency.attempts == 1
    assert expected is None or counted("storage:fetch") == expected


@pytest.mark.usefixtures("enabled")
async def test_a_wait_for_recovery_can_be_cancelled() -> None:
    """A patient loop that sleeps through an open circuit can be cancelled like any other."""
    await open_circuit("storage:fetch")
    dependency = Dependency("done")
    with anyio.move_on_after(5) as scope:
        await patient()(dependency.fetch)()
    assert scope.cancelled_caught
    assert dependency.attempts == 0
    assert counted("storage:fetch") == {"started": 4, "failed": 3, "rejected": 1}
