"""Log lines: what they say, when they are silent, and that no call depends on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from loguru import logger

from supervisor import (
    CircuitBreaker,
    CircuitGivenUp,
    CircuitRestarted,
    CircuitRetired,
    CircuitStarted,
    CircuitState,
    Event,
    EventStream,
    FleetJoined,
    FleetLost,
    StateChanged,
    Supervisor,
    app_settings,
    execute_with_retry,
    retry_storage_operation,
)
from supervisor.instrumentation.logs import log_events, log_malformed, log_retry

pytestmark = pytest.mark.anyio

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

Record = dict[str, Any]


@pytest.fixture
def records() -> Iterator[list[Record]]:
    """What reaches a sink of the application that takes everything."""
    records: list[Record] = []
    sink = logger.add(lambda message: records.append(dict(message.record)), level=0)
    yield records
    logger.remove(sink)


@pytest.fixture
def lines(records: list[Record]) -> Iterator[list[Record]]:
    """The same, in an application that has enabled the package's lines."""
    logger.enable("supervisor")
    yield records
    logger.disable("supervisor")


@pytest.fixture
def broken_sink() -> Iterator[list[str]]:
    """A sink that raises on every line of an application that has enabled them."""
    reached: list[str] = []

    def sink(message: str) -> None:
        reached.append(message)
        raise RuntimeError("disk full")

    handler = logger.add(sink, level=0, catch=False)
    logger.enable("supervisor")
    yield reached
    logger.disable("supervisor")
    logger.remove(handler)


def said(records: list[Record]) -> list[tuple[str, str]]:
    return [(record["level"].name, record["message"]) for record in records]


async def settle() -> None:
    """Let every task do what it can do at this moment."""
    await anyio.sleep(0.001)


async def fail() -> None:
    raise ConnectionError("refused")


async def succeed() -> str:
    return "done"


async def open_circuit(breaker: CircuitBreaker) -> None:
    for _ in range(breaker.failure_threshold):
        with pytest.raises(ConnectionError):
            await breaker.call(fail)
    assert breaker.state is OPEN


async def use_all_that_logs() -> None:
    """A circuit that opens and recovers, and a retry."""
    app_settings.circuit_breaker.enabled = True
    breaker = CircuitBreaker("api", recovery_timeout=10)
    await open_circuit(breaker)
    await anyio.sleep(11)
    assert await breaker.call(succeed) == "done"
    with pytest.raises(ConnectionError):
        await retry_storage_operation(2)(fail)()
    await settle()


# Silence


async def test_the_package_is_silent_until_it_is_enabled(records: list[Record]) -> None:
    """Without `logger.enable("supervisor")`, no sink of the application gets a line."""
    await use_all_that_logs()
    assert records == []


async def test_the_package_can_be_silenced_again(lines: list[Record]) -> None:
    """`logger.enable` and `logger.disable` take effect at run time."""
    await use_all_that_logs()
    assert lines
    lines.clear()
    logger.disable("supervisor")
    await use_all_that_logs()
    assert lines == []


@pytest.mark.parametrize("enabled", [False, True], ids=["disabled", "enabled"])
async def test_successes_are_silent(lines: list[Record], enabled: bool) -> None:
    """Nothing is logged on the success path, by whatever way a call is made."""
    app_settings.circuit_breaker.enabled = enabled
    breaker, retried = CircuitBreaker("api"), retry_storage_operation()(succeed)

    async def use() -> None:
        await breaker.call(succeed)
        await breaker(succeed)()
        async with breaker:
            pass
        with await breaker.acquire():
            pass
        await retried()
        await retry_storage_operation(guard="attempt")(succeed)()
        await execute_with_retry(succeed)

    await use()  # starts the circuits
    await settle()
    lines.clear()
    for _ in range(10):
        await use()
    await settle()
    assert lines == []


# State changes


async def test_every_change_of_state_is_a_line(lines: list[Record]) -> None:
    """Each line has the change's facts as fields, and the package's name as its source."""
    breaker = CircuitBreaker("api", recovery_timeout=10)
    await open_circuit(breaker)
    await anyio.sleep(11)
    assert await breaker.call(succeed) == "done"
    await settle()
    changes = [record for record in lines if "from_state" in record["extra"]]
    fields = ("circuit", "from_state", "to_state", "failure_count", "retry_after")
    assert [tuple(record["extra"][field] for field in fields) for record in changes] == [
        ("api", "closed", "open", 3, 10.0),
        ("api", "open", "half_open", 3, 0.0),
        ("api", "half_open", "closed", 0, 0.0),
    ]
    assert said(changes) == [
        ("WARNING", "circuit api: closed -> open"),
        ("INFO", "circuit api: open -> half_open"),
        ("INFO", "circuit api: half_open -> closed"),
    ]
    assert changes[0]["extra"]["last_failure"] == "ConnectionError: refused"
    assert {record["name"] for record in lines} == {"supervisor.instrumentation.lines"}


async def test_what_would_have_changed_is_told_apart(lines: list[Record]) -> None:
    """A circuit that only measures warns of nothing, since it refuses nothing."""
    breaker = CircuitBreaker("api")
    await breaker.call(succeed)
    breaker.only_measure()
    for _ in range(breaker.failure_threshold):
        with pytest.raises(ConnectionError):
            await breaker.call(fail)
    await settle()
    changes = [record for record in lines if "from_state" in record["extra"]]
    assert said(changes) == [
        ("INFO", "circuit api: closed -> metrics_only"),
        ("INFO", "circuit api: metrics only, would go closed -> open"),
    ]
    assert [record["extra"]["metrics_only"] for record in changes] == [False, True]


async def test_the_states_are_plain_strings(lines: list[Record]) -> None:
    """A structured sink gets `open`, not the name of an enum's member."""
    await open_circuit(CircuitBreaker("api"))
    await settle()
    [change] = [record["extra"] for record in lines if "to_state" in record["extra"]]
    assert type(change["from_state"]) is type(change["to_state"]) is str


@pytest.mark.parametrize("name", ["{}", "{circuit}", "a{0}b", "<red>", "100%"])
async def test_a_name_may_look_like_a_format(lines: list[Record], name: str) -> None:
    """Names are data: braces, tags and percent signs in them are written as they are."""
    await open_circuit(CircuitBreaker(name))
    await settle()
    assert ("WARNING", f"circuit {name}: closed -> open") in said(lines)
    log_retry(name, 1, 0.5, ConnectionError(name))
    assert said(lines)[-1] == ("WARNING", f"{name}: attempt 1 failed, next one in 0.50 s")


async def test_a_reset_that_changes_nothing_is_no_change(lines: list[Record]) -> None:
    """Only real changes of state are logged."""
    breaker = CircuitBreaker("api")
    await breaker.call(succeed)
    breaker.reset()
    await settle()
    assert not any("from_state" in record["extra"] for record in lines)


async def test_circuits_that_start_and_stop_are_debug_lines(lines: list[Record]) -> None:
    """Everything but changes of state and troubles is on the level DEBUG."""
    async with Supervisor() as supervisor:
        supervisor.circuit("api")
        supervisor.stop("api")
    assert said(lines) == [
        ("DEBUG", "circuit api: CircuitStarted"),
        ("DEBUG", "circuit api: CircuitStopped"),
    ]


@pytest.mark.parametrize(
    ("event", "level", "message", "extra"),
    [
        pytest.param(
            CircuitStarted(sequence=1, at=0.0, circuit="api"),
            "DEBUG",
            "circuit api: CircuitStarted",
            {"circuit": "api"},
            id="started",
        ),
        pytest.param(
            CircuitRetired(sequence=1, at=0.0, circuit="api", reason="full"),
            "DEBUG",
            "circuit api: retired (full)",
            {"circuit": "api", "reason": "full"},
            id="retired",
        ),
        pytest.param(
            StateChanged(
                sequence=1,
                at=0.0,
                circuit="api",
                from_state=HALF_OPEN,
                to_state=OPEN,
                period=3,
                failure_count=4,
                retry_after=30.0,
                last_failure="ValueError: {}",
            ),
            "WARNING",
            "circuit api: half_open -> open",
            {
                "circuit": "api",
                "from_state": "half_open",
                "to_state": "open",
                "failure_count": 4,
                "retry_after": 30.0,
                "last_failure": "ValueError: {}",
                "metrics_only": False,
                "origin": "here",
            },
            id="opened",
        ),
        pytest.param(
            FleetJoined(sequence=1, at=0.0, circuit="", members=3),
            "INFO",
            "fleet joined, members: 3",
            {"members": 3},
            id="joined",
        ),
        pytest.param(
            FleetLost(sequence=1, at=0.0, circuit="", error="OSError: {x}"),
            "WARNING",
            "fleet lost, every circuit decides alone: OSError: {x}",
            {"error": "OSError: {x}"},
            id="lost",
        ),
        pytest.param(
            CircuitRestarted(sequence=1, at=0.0, circuit="api", error="ValueError: {x}"),
            "ERROR",
            "circuit api: actor restarted after ValueError: {x}",
            {"circuit": "api", "error": "ValueError: {x}", "pause": 0.0},
            id="restarted",
        ),
        pytest.param(
            CircuitRestarted(sequence=1, at=0.0, circuit="api", error="ValueError", pause=2.5),
            "ERROR",
            "circuit api: actor restarted in 2.50 s after ValueError",
            {"circuit": "api", "error": "ValueError", "pause": 2.5},
            id="restarted later",
        ),
        pytest.param(
            CircuitGivenUp(
                sequence=1, at=0.0, circuit="api", verdict="allow", error="ValueError: {x}"
            ),
            "CRITICAL",
            "circuit api: actor given up (allow) after ValueError: {x}",
            {"circuit": "api", "verdict": "allow", "error": "ValueError: {x}"},
            id="given up",
        ),
    ],
)
async def test_each_kind_of_event_has_its_line(
    lines: list[Record], event: Event, level: str, message: str, extra: dict[str, object]
) -> None:
    """An event's level tells how bad it is, and its facts are fields."""
    stream = EventStream(1)
    stream.put(event)
    stream.close()
    await log_events(stream)
    assert said(lines) == [(level, message)]
    assert lines[0]["extra"] == extra


async def test_missed_events_are_counted(lines: list[Record]) -> None:
    """If events came faster than they could be logged, one line says how many are missing."""
    stream = EventStream(1)
    for sequence in (1, 2, 3):
        stream.put(CircuitStarted(sequence=sequence, at=0.0, circuit="api"))
    stream.close()
    await log_events(stream)
    assert said(lines)[1:] == [("WARNING", "2 events were not logged")]
    assert lines[1]["extra"] == {"count": 2}


# Retries


@pytest.mark.parametrize("enabled", [False, True], ids=["disabled", "enabled"])
async def test_every_retry_is_a_line(lines: list[Record], enabled: bool) -> None:
    """A failed attempt that another one follows is logged; the last one is the caller's."""
    app_settings.circuit_breaker.enabled = enabled
    with pytest.raises(ConnectionError):
        await retry_storage_operation(3, 1, 8)(fail)()
    retries = [record for record in lines if "attempt" in record["extra"]]
    fields = ("circuit", "attempt", "wait")
    assert [tuple(record["extra"][field] for field in fields) for record in retries] == [
        ("storage:fail", 1, 1.0),
        ("storage:fail", 2, 2.0),
    ]
    assert all("refused" in record["extra"]["error"] for record in retries)
    assert said(retries) == [
        ("WARNING", "storage:fail: attempt 1 failed, next one in 1.00 s"),
        ("WARNING", "storage:fail: attempt 2 failed, next one in 2.00 s"),
    ]


async def test_a_retry_without_decorator_is_a_line(lines: list[Record]) -> None:
    """`execute_with_retry` logs under the circuit's name, too."""
    with pytest.raises(ConnectionError):
        await execute_with_retry(fail, max_attempts=2, min_wait=2, max_wait=2)
    assert [record["extra"]["circuit"] for record in lines] == ["adhoc:fail"]
    assert lines[0]["extra"]["wait"] == 2.0


async def test_an_error_that_cannot_be_shown_is_retried_all_the_same(lines: list[Record]) -> None:
    """An exception's own `__repr__` is user code: if it raises, the retry goes on."""

    class UnprintableError(ConnectionError):
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    errors: list[Exception] = [UnprintableError()]

    async def fetch() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await execute_with_retry(fetch) == "done"


# Sinks that raise


async def test_a_broken_sink_breaks_no_call(broken_sink: list[str]) -> None:
    """Calls, retries and circuits go on although every line raises; no actor crashes of it."""
    async with Supervisor(max_restarts=0) as supervisor:
        await use_all_that_logs()
        assert supervisor["api"].state is CLOSED
        assert supervisor["api"].statistics().restarts == 0
    assert broken_sink


@pytest.mark.parametrize("guard", ["loop", "attempt"])
async def test_a_broken_sink_breaks_no_retry(broken_sink: list[str], guard: Any) -> None:
    """A line about a retry that cannot be written changes neither attempts nor error."""
    app_settings.circuit_breaker.enabled = True
    error, attempts = ConnectionError("refused"), 0

    @retry_storage_operation(3, guard=guard)
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        raise error

    with pytest.raises(ConnectionError) as caught:
        await fetch()
    assert caught.value is error
    assert attempts == 3
    assert broken_sink


async def test_logging_goes_on_after_a_sink_has_raised(lines: list[Record]) -> None:
    """A sink that raised once does not end logging: later lines of the supervisor come."""

    def sink(_message: str) -> None:
        raise RuntimeError("disk full")

    async with Supervisor() as supervisor:
        broken = logger.add(sink, level=0, catch=False)
        await open_circuit(supervisor.circuit("first"))
        await settle()
        logger.remove(broken)
        lines.clear()
        await open_circuit(supervisor.circuit("second"))
        await settle()
    assert ("WARNING", "circuit second: closed -> open") in said(lines)


async def test_what_cannot_be_read_in_a_store(lines: list[Record]) -> None:
    log_malformed("a store", "a circuit's record")
    text = "cannot be read and is skipped, as others will be without a word"
    assert said(lines) == [("WARNING", f"a store: a circuit's record {text}")]
    assert lines[0]["extra"] == {"store": "a store", "malformed": "a circuit's record"}
