"""What the registry says and does about functions: their names, and that they run unguarded."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from loguru import logger

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    RetrySettings,
    SettingsError,
    Supervisor,
    SupervisorWarning,
    app_settings,
    execute_with_retry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    with_circuit_breaker,
)
from supervisor.instrumentation import advice
from supervisor.settings import files
from tests.support.logs import Records, handled_by

pytestmark = pytest.mark.anyio

NUMBERS = itertools.count()
"""For names that no other test has: what is said once is said once in a process."""


class Mail:
    """Has a method that others have, too."""

    @staticmethod
    async def run() -> str:
        return "done"


async def run() -> str:
    return "done"


# Names


@pytest.mark.usefixtures("enabled")
async def test_names_are_short_by_default() -> None:
    """As existing code knows them."""
    await retry_api_call()(run)()
    await with_circuit_breaker()(Mail.run)()
    for name in ("api:run", "Mail.run"):
        assert get_circuit_breaker_sync(name) is not None, name


@pytest.mark.usefixtures("enabled")
async def test_names_can_be_qualified() -> None:
    """By a setting: then the module and the qualified name tell functions apart."""
    app_settings.circuit_breaker.names = "qualified"
    await retry_api_call()(run)()
    await with_circuit_breaker()(Mail.run)()
    await execute_with_retry(run)
    for name in (f"api:{__name__}.run", f"{__name__}.Mail.run", f"adhoc:{__name__}.run"):
        assert get_circuit_breaker_sync(name) is not None, name


@pytest.mark.usefixtures("enabled")
async def test_functions_that_share_a_name_are_told_of() -> None:
    """Once, at the line of the second one, whether or not anything is logged."""
    name = f"fetch_{next(NUMBERS)}"

    def function(module: str) -> Any:
        async def fetch() -> str:
            return "done"

        fetch.__module__, fetch.__qualname__ = module, name
        return fetch

    with warnings.catch_warnings(record=True, action="always") as caught:
        for module in ("mail", "mail", "chat", "news"):
            await with_circuit_breaker()(function(module))()
    (warning,) = caught
    assert warning.category is SupervisorWarning
    assert str(warning.message).startswith(
        f"circuit {name}: shared by mail.{name} and chat.{name}, whose failures"
    )
    line = function.__code__.co_firstlineno + 1
    assert (warning.filename, warning.lineno) == (__file__, line)


async def test_they_are_told_of_when_circuits_are_enabled_later() -> None:
    """Until then, nothing is shared."""
    name = f"fetch_{next(NUMBERS)}"
    functions: list[Any] = []
    with warnings.catch_warnings(record=True, action="always") as caught:
        for module in ("mail", "chat"):

            async def fetch() -> str:
                return "done"

            fetch.__module__, fetch.__name__ = module, name
            functions.append(retry_api_call()(fetch))
            await functions[-1]()
        told = [str(each.message) for each in caught]
        assert not [text for text in told if name in text]
        app_settings.circuit_breaker.enabled = True
        for function in functions * 2:
            await function()
    assert len([each for each in caught if name in str(each.message)]) == 1


class Awaited:
    """What is no function of Python's, and still returns an awaitable."""

    def __await__(self) -> Generator[None, None, str]:
        yield from anyio.lowlevel.checkpoint().__await__()
        return "done"


@pytest.mark.usefixtures("enabled")
async def test_what_has_no_line_is_told_of_where_it_is_called() -> None:
    """A type, here: there may be another one of its name."""
    name = f"Awaited{next(NUMBERS)}"
    first, second = (type(name, (Awaited,), {"__module__": each}) for each in ("mail", "chat"))
    await execute_with_retry(first)
    with pytest.warns(SupervisorWarning, match=f"shared by mail.{name} and chat.{name}, "):
        await execute_with_retry(second)


async def test_no_call_fails_by_a_warning_that_is_an_error() -> None:
    """Functions that were decorated before run as they did, whatever becomes of warnings."""
    advice.untold.add("disabled")
    with warnings.catch_warnings(action="error"):
        assert await with_circuit_breaker()(run)() == "done"


# What is disabled


@pytest.fixture
def untold() -> Iterator[None]:
    """Nothing has been said yet in this process."""
    advice.untold.add("disabled")
    yield
    advice.untold.discard("disabled")


@pytest.mark.parametrize("logs", ["loguru", "logging"])
async def test_that_circuits_are_disabled_is_said_once(untold: None, logs: Any) -> None:
    """At the first call that passes, whatever it was decorated by, and not before."""
    app_settings.circuit_breaker.logs = logs
    seen: list[str] = []
    number = logger.add(lambda message: seen.append(message.record["message"]), level="INFO")
    logger.enable("supervisor")
    standard = logging.getLogger("supervisor")
    standard.setLevel(logging.INFO)
    try:
        with handled_by(Records()) as records:
            functions: list[Callable[[], Any]] = [with_circuit_breaker()(run)]
            functions += [retry_api_call()(run), lambda: execute_with_retry(run)]
            assert records.records == []
            for function in functions * 2:
                assert await function() == "done"
    finally:
        standard.setLevel(logging.NOTSET)
        logger.disable("supervisor")
        logger.remove(number)
    text = "circuits are disabled, so decorated functions run unguarded; BINDU_CB_ENABLED=true"
    (record,) = records.records
    assert record.getMessage().startswith(text)
    assert len(seen) == (logs == "loguru")


@pytest.mark.parametrize("wrapped", [with_circuit_breaker, retry_api_call])
async def test_it_is_said_by_each_way(untold: None, wrapped: Callable[[], Any]) -> None:
    """Whichever comes first."""
    logging.getLogger("supervisor").setLevel(logging.INFO)
    try:
        with handled_by(Records()) as records:
            await wrapped()(run)()
    finally:
        logging.getLogger("supervisor").setLevel(logging.NOTSET)
    assert len(records.records) == 1


@pytest.mark.parametrize("logs", ["loguru", "logging"])
async def test_it_is_a_warning_if_nobody_takes_the_line(untold: None, logs: Any) -> None:
    """By default, no log line would be seen."""
    app_settings.circuit_breaker.logs = logs
    with warnings.catch_warnings(record=True, action="always") as caught:
        for _ in range(2):
            await retry_api_call()(Mail.run)()
    (warning,) = caught
    assert str(warning.message).startswith("circuits are disabled, so decorated functions")
    assert warning.category is SupervisorWarning
    assert (warning.filename, warning.lineno) == (__file__, Mail.run.__code__.co_firstlineno)


async def test_who_has_disabled_them_is_not_warned(
    untold: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a variable or in code: it was on purpose."""
    monkeypatch.setenv("BINDU_CB_ENABLED", "false")
    with warnings.catch_warnings(action="error"):
        await with_circuit_breaker()(run)()
        app_settings.circuit_breaker.enabled = False
        advice.untold.add("disabled")
        await with_circuit_breaker()(run)()


async def test_a_logger_that_hands_nothing_on_is_no_reader(untold: None) -> None:
    """Whatever handlers there are above it."""
    standard = logging.getLogger("supervisor")
    standard.setLevel(logging.INFO)
    standard.propagate = False
    try:
        with pytest.warns(SupervisorWarning, match="circuits are disabled"):
            await with_circuit_breaker()(run)()
    finally:
        standard.propagate = True
        standard.setLevel(logging.NOTSET)


async def test_nothing_is_said_of_a_breaker_of_ones_own(untold: None) -> None:
    """It guards all the same."""
    logging.getLogger("supervisor").setLevel(logging.INFO)
    try:
        with handled_by(Records()) as records:
            await retry_api_call(breaker=CircuitBreaker("mail"))(run)()
    finally:
        logging.getLogger("supervisor").setLevel(logging.NOTSET)
    assert not [record for record in records.records if "disabled" in record.msg]


# What is read, and where


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that read settings from a file."""
    Path("my.toml").write_text("failure_threshold = 7")
    monkeypatch.setenv("BINDU_CB_FILE", "my.toml")
    found: list[int] = []

    def read(file: str | Path) -> dict[str, Any]:
        found.append(threading.get_ident())
        return files.read_toml(file)

    monkeypatch.setattr("supervisor.settings.circuits.read_toml", read)
    return found


async def by_block() -> None:
    async with CircuitBreaker("a"):
        pass


async def by_permit() -> None:
    (await CircuitBreaker("a").acquire()).succeed()


async def items() -> AsyncIterator[int]:
    yield 1


async def by_stream() -> None:
    async with CircuitBreaker("a").stream(items) as stream:
        assert [item async for item in stream] == [1]


async def by_thread() -> None:
    await anyio.to_thread.run_sync(CircuitBreaker("a").call_from_thread, int)


async def in_a_block() -> None:
    async with Supervisor() as supervisor:
        await supervisor.circuit("a").call(run)
        while not app_settings.knows_circuits:  # noqa: ASYNC110  (a task of its own sees to it)
            await anyio.sleep(0.001)


async def by_decorator() -> None:
    await CircuitBreaker("a")(run)()


async def sent() -> None:
    """Call a decorated function in another process, to which it has been sent."""
    func = with_circuit_breaker("a")(run)
    vars(app_settings).clear()
    await func()


async def sent_with_retries() -> None:
    func = retry_api_call()(run)
    vars(app_settings).clear()
    await func()


FIRST: dict[str, Callable[[], Awaitable[Any]]] = {
    "by name": lambda: get_circuit_breaker("a"),
    "retries": lambda: execute_with_retry(run),
    "call": lambda: CircuitBreaker("a").call(run),
    "call with fallback": lambda: CircuitBreaker("a").call(run, fallback=None),
    "retry": lambda: CircuitBreaker("a").retry(run),
    "spend_retry": lambda: CircuitBreaker("a").spend_retry(),
    "waiting": lambda: CircuitBreaker("a").waiting(1).call(run),
    "decorated": by_decorator,
    "block": by_block,
    "permit": by_permit,
    "stream": by_stream,
    "thread": by_thread,
    "supervisor": in_a_block,
    "sent": sent,
    "sent with retries": sent_with_retries,
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
async def test_files_are_not_read_on_the_event_loop(
    readers: list[int], first: Callable[[], Awaitable[Any]]
) -> None:
    """A worker thread reads them, once; what has been given or read is not read again."""
    await first()
    assert (await get_circuit_breaker("b")).failure_threshold == 7
    assert threading.get_ident() not in readers[-1:]
    assert len(readers) <= 2


async def test_where_nothing_is_set_a_first_call_takes_no_turn_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It neither looks at a file nor starts a thread; nothing is read."""

    def looked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(os, "stat", looked)
    monkeypatch.setattr(anyio.to_thread, "run_sync", looked)
    assert app_settings.knows_running_circuits
    await CircuitBreaker("a").call(run)
    assert not app_settings.knows_circuits


def test_a_dotenv_file_is_looked_for_at_the_start(tmp_path: Path) -> None:
    """In the directory in which the program starts: an event loop waits for no file."""
    (tmp_path / ".env").write_text("BINDU_CB_KEEP=process\n", encoding="utf-8")
    asked = "import supervisor; print(supervisor.app_settings.of_running_circuits.keep)"
    found = [
        subprocess.run(
            [sys.executable, "-c", asked], cwd=where, check=True, capture_output=True, text=True
        ).stdout
        for where in (tmp_path, tmp_path.parent)
    ]
    assert found == ["process\n", "None\n"]


@pytest.mark.parametrize("retry_on", [None, ConnectionError])
async def test_settings_of_retries_are_not_read_there_either(
    monkeypatch: pytest.MonkeyPatch, retry_on: Any
) -> None:
    """They are, before the first attempt, if they are needed."""
    readers: list[int] = []

    class Read(RetrySettings):
        def __init__(self) -> None:
            readers.append(threading.get_ident())
            super().__init__()

    monkeypatch.setattr("supervisor.settings.retries.RetrySettings", Read)

    async def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await execute_with_retry(fail, retry_on=retry_on)
    assert len(readers) == (retry_on is None)
    assert threading.get_ident() not in readers


async def test_reading_a_breaker_reads_no_file(readers: list[int]) -> None:
    """Nothing is started by it, so nothing has to be known."""
    breaker = CircuitBreaker("a")
    assert breaker.state == "closed"
    assert breaker.statistics().started == 0
    assert readers == []


async def test_a_wrong_setting_is_told_by_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a breaker that needs the settings; one of a supervisor's that was entered does not."""
    monkeypatch.setenv("BINDU_CB_KEPE", "process")
    breaker = CircuitBreaker("a", 1)
    for _ in range(2):
        with pytest.raises(SettingsError, match="BINDU_CB_KEPE"):
            await breaker.call(run)
    with pytest.raises(SettingsError, match="BINDU_CB_KEPE"):
        await anyio.to_thread.run_sync(breaker.call_from_thread, int)
    async with Supervisor():
        assert await breaker.call(run) == "done"
        (await breaker.acquire()).fail()
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(run)


async def test_without_threads_files_are_read_all_the_same(
    readers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Python has none, or the process may have no more."""

    async def cannot(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("anyio.to_thread.run_sync", cannot)
    assert await CircuitBreaker("a").call(run) == "done"
    assert readers == [threading.get_ident()]


async def test_of_many_first_calls_one_reads(readers: list[int]) -> None:
    """Or some, if they begin at once; not each."""
    breaker = CircuitBreaker("a")
    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(breaker.call, run)
    assert breaker.statistics().succeeded == 200
    assert len(readers) < 100


def test_files_are_read_while_decorating(readers: list[int]) -> None:
    """That is while modules are imported."""
    with_circuit_breaker()(run)
    assert readers == [threading.get_ident()]


# Breakers by the settings


async def test_a_breaker_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_settings` gives it the policy that `check` shows; a plain one has its own."""
    monkeypatch.setenv("BINDU_CB_CIRCUITS__LLM__FAILURE_THRESHOLD", "9")
    assert CircuitBreaker.from_settings("llm").failure_threshold == 9
    assert CircuitBreaker.from_settings("other").failure_threshold == 3
    assert CircuitBreaker("llm").failure_threshold == 3
    assert await CircuitBreaker.from_settings("llm").call(run) == "done"


def test_a_breaker_by_settings_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the one of all settings, or the one of all names."""
    monkeypatch.setenv("BINDU_CB_RAMP", "no")
    with pytest.raises(TypeError, match=r"^a circuit's name must be a string, got 5$"):
        CircuitBreaker.from_settings(5)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"^BINDU_CB_RAMP must be"):
        CircuitBreaker.from_settings("llm")
