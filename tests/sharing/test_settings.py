"""`BINDU_CB_SHARING_URL` and `BINDU_CB_SHARING_SPACE`, for supervisors that nobody has entered."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerSettings,
    CircuitState,
    SettingsError,
    Supervisor,
    app_settings,
    current_supervisor,
)
from supervisor.__main__ import main
from supervisor.supervision import membership
from supervisor.testing import run_in_virtual_time
from tests.sharing.fleets import FaultyStore, heard
from tests.support.worlds import fail_times, is_refused

URL = "redis://user:secret@localhost"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What gives variables anew."""

    def give(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"BINDU_CB_{name}", value)
        monkeypatch.setattr(app_settings, "circuit_breaker", CircuitBreakerSettings())

    return give


@pytest.mark.anyio
async def test_the_default_supervisor_shares(
    given: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for nothing: a circuit is local until the supervisor has joined."""
    store = FaultyStore()
    asked: list[tuple[str, str]] = []

    def sharing(url: str, *, space: str) -> FaultyStore:
        asked.append((url, space))
        return store

    monkeypatch.setattr(membership.fleets, "RedisSharing", sharing)
    given(SHARING_URL=URL, SHARING_SPACE="shop")
    async with Supervisor(sharing=store) as other:
        await fail_times(other.circuit("x", failure_threshold=1), 1)
        await heard()
    store.delay = 0.4
    began = anyio.current_time()
    breaker = CircuitBreaker("x", failure_threshold=1)
    assert not await is_refused(breaker)
    assert anyio.current_time() == began
    assert asked == [(URL, "shop")]
    await heard(2.0)
    assert breaker.state is CircuitState.OPEN
    assert await is_refused(breaker)


@pytest.mark.anyio
async def test_a_supervisor_goes_by_its_own(given: Callable[..., None]) -> None:
    given(SHARING_URL=URL)
    async with Supervisor() as supervisor:
        assert supervisor.fleet is None


@pytest.mark.parametrize("text", ["", "none", " None "])
@pytest.mark.anyio
async def test_nowhere(given: Callable[..., None], text: str) -> None:
    given(SHARING_URL=text)
    supervisor = current_supervisor()
    assert supervisor is not None
    assert supervisor.fleet is None


def first_call() -> None:
    """Call something guarded, as the first one of an event loop."""

    async def call() -> None:
        await is_refused(CircuitBreaker("x"))

    run_in_virtual_time(call)


MISTAKES: list[tuple[dict[str, str], type[Exception], str]] = [
    ({"URL": "http://user:secret@localhost"}, SettingsError, "^BINDU_CB_SHARING_URL must be of"),
    ({"URL": URL}, ModuleNotFoundError, r"needs coredis: pip install .*\[redis\]"),
]


@pytest.mark.parametrize(("variables", "error", "text"), MISTAKES)
def test_mistakes(
    given: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    error: type[Exception],
    text: str,
) -> None:
    """They are said at the first call, and by `check`, without the password."""
    monkeypatch.setitem(sys.modules, "coredis", None)
    given(**{f"SHARING_{name}": value for name, value in variables.items()})
    with pytest.raises(error, match=text) as raised:
        first_call()
    assert "secret" not in str(raised.value)
    assert main(["check"]) == 2
    assert capsys.readouterr() == ("", f"{raised.value}\n")


def test_it_does_not_go_with_keep(
    given: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names both variables; so does `check`."""
    given(SHARING_URL=URL, KEEP="process")
    text = "BINDU_CB_KEEP=process does not go with BINDU_CB_SHARING_URL: "
    with pytest.raises(SettingsError, match=f"^{text}"):
        first_call()
    assert main(["check"]) == 2
    assert capsys.readouterr().err.startswith(text)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"sharing_url": ["secret"]}, "^BINDU_CB_SHARING_URL must be a URL, or none"),
        ({"sharing_space": 5}, "^BINDU_CB_SHARING_SPACE must be a string, got 5$"),
    ],
)
def test_values_of_another_type(values: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text) as raised:
        CircuitBreakerSettings(**values)
    assert "secret" not in str(raised.value)


def test_the_password_is_not_shown(
    given: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor where it stands in a variable that is misspelt."""
    monkeypatch.setattr(membership.fleets, "RedisSharing", lambda *_, **__: FaultyStore())
    given(SHARING_URL=URL)
    settings = app_settings.circuit_breaker
    settings.sharing_url = settings.sharing_url
    assert settings.sharing_url is not None
    assert settings.sharing_url.get_secret_value() == URL
    assert main(["check"]) == 0
    assert main(["check", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "sharing_url" in shown
    assert "secret" not in shown + repr(settings)
    monkeypatch.setenv("BINDU_CB_SHARING_URLS", URL)
    with pytest.raises(SettingsError, match=r"URLS=\.\.\.; did you mean BINDU_CB_SHARING_URL\?"):
        CircuitBreakerSettings()


@pytest.mark.parametrize(
    ("space", "shown"), [("", "''"), ("a b", "'a b'"), ("a\x1b[2J", r"'a\x1b[2J'")]
)
def test_a_space_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], space: str, shown: str
) -> None:
    """It is told when settings are read, also without a URL; and tells a terminal nothing."""
    monkeypatch.setenv("BINDU_CB_SHARING_SPACE", space)
    text = "BINDU_CB_SHARING_SPACE must have 1 to 100 letters, digits or . _ : / -, got "
    with pytest.raises(SettingsError, match=f"^{re.escape(text + shown)}$"):
        CircuitBreakerSettings()
    assert main(["check"]) == 2
    assert capsys.readouterr() == ("", f"{text}{shown}\n")


def test_in_a_file() -> None:
    file = Path("circuits.toml")  # in a directory of the test's
    file.write_text(f"sharing_url = {json.dumps(URL)}\nsharing_space = 'shop'\n", "utf-8")
    settings = CircuitBreakerSettings(file=file)
    assert settings.sharing_url is not None
    assert (settings.sharing_url.get_secret_value(), settings.sharing_space) == (URL, "shop")
