"""Loguru and the standard library's `logging`: the same lines and fields, and the same silence."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from loguru import logger

from supervisor import (
    CircuitBreaker,
    SettingsError,
    Supervisor,
    app_settings,
    execute_with_retry,
    retry_api_call,
)
from supervisor.instrumentation import advice, log_refusals, log_retry, use_logging
from supervisor.instrumentation.lines import write
from tests.support.logs import Records, handled_by
from tests.support.worlds import crash, fail_times, is_refused, settle_down, succeed

pytestmark = pytest.mark.anyio

Line = tuple[str, str, dict[str, Any]]
"""Its level, its text and its fields."""

OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What a record of `logging` has anyway, on whatever version of Python."""


class Handler(Records):
    """Tells the lines, too."""

    @property
    def lines(self) -> list[Line]:
        return [
            (
                record.levelname,
                record.getMessage(),
                {name: value for name, value in vars(record).items() if name not in OWN},
            )
            for record in self.records
        ]


@pytest.fixture
def handler() -> Iterator[Handler]:
    """What reaches a handler of the application's that takes everything."""
    advice.untold.discard("disabled")  # whichever test is the first of its process
    standard = logging.getLogger("supervisor")
    level = standard.level
    standard.setLevel(logging.DEBUG)
    with handled_by(Handler()) as handler:
        yield handler
    standard.setLevel(level)


@pytest.fixture
def sink() -> Iterator[list[Line]]:
    """What reaches a sink of loguru's that takes everything, in an application that enabled it."""
    lines: list[Line] = []

    def take(message: Any) -> None:
        record = message.record
        lines.append((record["level"].name, record["message"], record["extra"]))

    number = logger.add(take, level=0)
    logger.enable("supervisor")
    yield lines
    logger.disable("supervisor")
    logger.remove(number)


async def use_all_that_logs() -> None:
    """Bring each kind of line about, but for those of notices."""
    async with Supervisor(on_give_up="refuse", max_restarts=1, idle_timeout=200) as supervisor:
        breaker = supervisor.circuit("search", failure_threshold=1, recovery_timeout=100)
        supervisor.circuit("idle")
        await fail_times(breaker, 1)
        assert await is_refused(breaker)
        await anyio.sleep(101)
        await breaker.call(succeed)
        for _ in range(2):
            crash(supervisor, "search")
            await settle_down()
        await anyio.sleep(400)
    with pytest.raises(ConnectionError):
        await execute_with_retry(down, max_attempts=2)


async def down() -> None:
    raise ConnectionError("refused")


def without_luck(lines: list[Line]) -> list[Line]:
    """Waits between attempts are drawn, and circuits of one moment are told of in any order."""
    fixed = [
        (level, text, {**fields, "wait": 0.0} if "wait" in fields else fields)
        for level, text, fields in lines
    ]
    texts = (text.partition("next one in")[0] for _, text, _ in fixed)
    return sorted(
        ((level, text, fields) for (level, _, fields), text in zip(fixed, texts, strict=True)),
        key=str,
    )


async def test_both_say_the_same(handler: Handler, sink: list[Line]) -> None:
    """Levels, texts and fields are those of one definition."""
    await use_all_that_logs()
    assert handler.lines == []
    by_loguru = list(sink)
    use_logging()
    await use_all_that_logs()
    assert sink == by_loguru
    assert without_luck(handler.lines) == without_luck(by_loguru)
    levels = {level for level, _, _ in by_loguru}
    assert levels == {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


async def test_fields_never_collide_with_those_of_a_record(handler: Handler) -> None:
    """`logging` would refuse the whole line."""

    def tell(change: object) -> None:
        raise ValueError

    use_logging()
    await use_all_that_logs()
    async with Supervisor(on_change=tell) as supervisor:
        await fail_times(supervisor.circuit("x", failure_threshold=1), 1)
    names = {name for _, _, fields in handler.lines for name in fields}
    assert names == {
        *("circuit", "from_state", "to_state", "failure_count", "retry_after", "last_failure"),
        *("metrics_only", "attempt", "wait", "error", "verdict", "reason"),
        *("refused", "seconds", "on_change", "origin", "pause"),
    }


async def test_a_record_can_be_grouped_by_its_text(handler: Handler) -> None:
    """Its message is the same for all circuits, and what differs are arguments."""
    use_logging()
    for name in ("a", "b"):
        log_refusals(name, 3, 60.0)
    (message,) = {record.msg for record in handler.records}
    assert message == "circuit %s: calls refused in the last %.3g s: %d"
    assert [record.args for record in handler.records] == [("a", 60.0, 3), ("b", 60.0, 3)]
    assert {record.name for record in handler.records} == {"supervisor"}


@pytest.mark.parametrize("name", ["{}", "{circuit}", "%s", "100%", "<red>"])
async def test_a_name_may_look_like_a_format(handler: Handler, sink: list[Line], name: str) -> None:
    """Names are data, in both libraries."""
    log_retry(name, 1, 0.5, None)
    use_logging()
    log_retry(name, 1, 0.5, None)
    text = f"{name}: attempt 1 failed, next one in 0.50 s"
    fields = {"circuit": name, "attempt": 1, "wait": 0.5, "error": None}
    assert handler.lines == sink == [("WARNING", text, fields)]


async def test_an_error_has_its_traceback(handler: Handler) -> None:
    """In `logging`, as `exc_info`; in loguru, as `exception`."""
    error = ValueError("x")
    exceptions: list[Any] = []
    sink = logger.add(lambda message: exceptions.append(message.record["exception"]))
    logger.enable("supervisor")
    write("ERROR", "%s", ("text",), {}, error)
    write("ERROR", "%s", ("text",), {})
    logger.disable("supervisor")
    logger.remove(sink)
    assert exceptions[0].value is error
    assert exceptions[1] is None
    use_logging()
    write("ERROR", "%s", ("text",), {}, error)
    write("ERROR", "%s", ("text",), {})
    first, second = handler.records
    assert first.exc_info is not None
    assert first.exc_info[1] is error
    assert not second.exc_info


# Which of them


async def test_the_setting_is_asked_each_time(handler: Handler, sink: list[Line]) -> None:
    """So that an application may change it at any time."""
    log_refusals("x", 1, 60.0)
    app_settings.circuit_breaker.logs = "logging"
    log_refusals("y", 1, 60.0)
    app_settings.circuit_breaker.logs = "loguru"
    log_refusals("z", 1, 60.0)
    assert [fields["circuit"] for _, _, fields in sink] == ["x", "z"]
    assert [fields["circuit"] for _, _, fields in handler.lines] == ["y"]


@pytest.mark.parametrize("value", ["logging", "LOGGING", " Logging "])
def test_a_variable_chooses(handler: Handler, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """In any case of letters."""
    monkeypatch.setenv("BINDU_CB_LOGS", value)
    log_refusals("x", 1, 60.0)
    assert len(handler.lines) == 1


def test_a_file_chooses(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like any other setting."""
    Path("circuits.toml").write_text('logs = "logging"')
    monkeypatch.setenv("BINDU_CB_FILE", "circuits.toml")
    log_refusals("x", 1, 60.0)
    assert len(handler.lines) == 1


@pytest.mark.parametrize("value", ["structlog", "", "none", 5, None])
def test_another_library_is_an_error(value: Any) -> None:
    """It names the variable, what there is, and the value."""
    with pytest.raises(SettingsError) as caught:
        app_settings.circuit_breaker.logs = value
    assert str(caught.value) == f"BINDU_CB_LOGS must be one of loguru, logging; got {value!r}"


async def test_with_mistakes_in_the_settings_lines_go_to_loguru(
    handler: Handler, sink: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Circuits that do not use the settings go on; whoever uses them is told."""
    monkeypatch.setenv("BINDU_CB_LOG", "logging")
    await fail_times(CircuitBreaker("x", failure_threshold=1), 0)
    log_refusals("x", 1, 60.0)
    assert len(sink) == 1
    with pytest.raises(SettingsError, match=r"BINDU_CB_LOG='logging'; did you mean BINDU_CB_LOGS"):
        use_logging()


# Silence

PROGRAM = """
import asyncio
from supervisor import CircuitBreaker

async def down():
    raise ConnectionError("refused")

async def main():
    breaker = CircuitBreaker("search", failure_threshold=1)
    for _ in range(3):
        try:
            await breaker.call(down)
        except Exception:
            pass
    await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.mark.parametrize("library", ["loguru", "logging"])
def test_a_program_that_sets_nothing_up_gets_no_line(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither loguru's sink to the standard error, nor the last resort of `logging`, is used."""
    monkeypatch.setenv("BINDU_CB_LOGS", library)
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


# Handlers that raise


class BrokenFilter(logging.Filter):
    """As an application may have it."""

    def filter(self, _: logging.LogRecord) -> bool:
        raise RuntimeError("no filter")


class BrokenHandler(logging.Handler):
    """The same, of a handler that does not keep what it raises to itself."""

    def handle(self, _: logging.LogRecord) -> bool:
        raise RuntimeError("disk full")


@pytest.fixture(params=["filter", "handler", "record factory"])
def broken(request: pytest.FixtureRequest) -> Iterator[None]:
    """An application whose set-up of `logging` raises on every line."""
    standard, factory = logging.getLogger("supervisor"), logging.getLogRecordFactory()
    undo: Callable[[], object]
    if request.param == "filter":
        instance = BrokenFilter()
        standard.addFilter(instance)
        undo = lambda: standard.removeFilter(instance)  # noqa: E731
    elif request.param == "handler":
        handler = BrokenHandler()
        standard.addHandler(handler)
        undo = lambda: standard.removeHandler(handler)  # noqa: E731
    else:

        def broken_factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = factory(*args, **kwargs)
            record.circuit = "its own"
            return record

        logging.setLogRecordFactory(broken_factory)
        undo = lambda: logging.setLogRecordFactory(factory)  # noqa: E731
    yield
    undo()


@pytest.mark.usefixtures("broken", "enabled")
async def test_a_broken_handler_takes_nothing_down() -> None:
    """Calls, retries, refusals and circuits go on although every line raises."""
    use_logging()
    attempts = 0

    @retry_api_call(2)
    async def fetch() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError
        return "fine"

    assert await fetch() == "fine"
    async with Supervisor(max_restarts=0) as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=100)
        await fail_times(breaker, 1)
        assert await is_refused(breaker)
        await anyio.sleep(101)
        assert await breaker.call(succeed) == "fine"
        assert breaker.statistics().restarts == 0
