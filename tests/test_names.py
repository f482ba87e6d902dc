"""What the registry says and does about functions: their names, and that they run unguarded."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from supervisor import (
    CircuitBreaker,
    SettingsError,
    app_settings,
    execute_with_retry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    with_circuit_breaker,
)
from supervisor.instrumentation import log_disabled
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
    """Also those that `with_circuit_breaker` guards, once."""
    app_settings.circuit_breaker.logs = "logging"
    name = f"fetch_{next(NUMBERS)}"

    def function(module: str) -> Any:
        async def fetch() -> str:
            return "done"

        fetch.__module__, fetch.__qualname__ = module, name
        return fetch

    with handled_by(Records()) as records:
        for module in ("mail", "mail", "chat", "news"):
            await with_circuit_breaker()(function(module))()
    (line,) = [record.getMessage() for record in records.records if "shared" in record.msg]
    assert line.startswith(f"circuit {name}: shared by mail.{name} and chat.{name}, whose failures")


# What is disabled


@pytest.fixture
def untold() -> Iterator[None]:
    """Nothing has been said yet in this process."""
    log_disabled.cache_clear()
    yield
    log_disabled.cache_clear()


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


@pytest.mark.parametrize(
    "first", [lambda: get_circuit_breaker("a"), lambda: execute_with_retry(run)], ids=["get", "run"]
)
async def test_files_are_not_read_on_the_event_loop(readers: list[int], first: Any) -> None:
    """A worker thread reads them, once; what has been given or read is not read again."""
    await first()
    assert (await get_circuit_breaker("b")).failure_threshold == 7
    (reader,) = readers
    assert reader != threading.get_ident()


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
