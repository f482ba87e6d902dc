"""Files with settings, in whatever form editors and shells leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor import CircuitBreakerSettings, RetrySettings, SettingsError, app_settings
from supervisor.__main__ import main

LINES = "BINDU_CB_ENABLED=true\nBINDU_CB_FAILURE_THRESHOLD=7\nBINDU_RETRY_API_MAX_ATTEMPTS=2\n"


def test_a_byte_order_mark_is_no_error() -> None:
    """Neither in `.env` nor in TOML."""
    Path(".env").write_text(LINES, encoding="utf-8-sig")
    Path("my.toml").write_text("recovery_timeout = 5", encoding="utf-8-sig")
    settings = CircuitBreakerSettings(file="my.toml")
    assert (settings.enabled, settings.failure_threshold) == (True, 7)
    assert settings.recovery_timeout == 5.0
    assert RetrySettings().api_max_attempts == 2


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode("utf-16"),
        LINES.encode("utf-16-le"),
        LINES.encode("utf-32"),
        ("NAME=Müller\n" + LINES).encode("cp1252"),
    ],
    ids=["UTF-16", "UTF-16 without a mark", "UTF-32", "cp1252"],
)
@pytest.mark.parametrize("group", [CircuitBreakerSettings, RetrySettings])
def test_another_encoding(group: Callable[[], object], content: bytes) -> None:
    """The error names the file, and says what to do."""
    Path(".env").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^\.env must be .*UTF-8: save it as that"):
        group()


def test_the_command_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    """`check` ends with one line about it."""
    Path(".env").write_text(LINES, encoding="utf-16")
    assert main(["check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(".env must be a file that can be read")
    assert err.count("\n") == 1


def test_another_encoding_that_is_told() -> None:
    """Whoever has such a file can say so."""
    Path(".env").write_text(LINES, encoding="utf-16")
    assert CircuitBreakerSettings(_env_file_encoding="utf-16").failure_threshold == 7
    with pytest.raises(SettingsError, match=r"^\.env must be .*unknown encoding: utf-99\)$"):
        CircuitBreakerSettings(_env_file_encoding="utf-99")


def test_a_file_that_must_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it as well."""
    Path(".env").write_text(LINES)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", ".env")

    monkeypatch.setattr("builtins.open", refuse)
    text = r"^\.env must be a file that can be read, .*Permission denied"
    with pytest.raises(SettingsError, match=text):
        _ = app_settings.circuit_breaker


@pytest.mark.parametrize("group", [CircuitBreakerSettings, RetrySettings])
@pytest.mark.parametrize("option", ["_env_prefix", "_secrets_dir", "_case_sensitive"])
def test_options_that_would_mean_nothing(group: Callable[..., object], option: str) -> None:
    """They are refused, rather than ignored."""
    with pytest.raises(SettingsError, match=f"^{option}='x' cannot be given; there are _env_file,"):
        group(**{option: "x"})


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        (b"x = " + b"[" * 500 + b"]" * 500, "it is nested too deep"),
        ("ramp = 5".encode("utf-16"), "it is not in UTF-8: save it as that; 'utf-8'"),
    ],
    ids=["deep", "UTF-16"],
)
def test_a_file_that_cannot_be_understood(
    capsys: pytest.CaptureFixture[str], toml: bytes, why: str
) -> None:
    """The error blames the file that was given, not a variable that was not."""
    Path("my.toml").write_bytes(toml)
    assert main(["check", "--file", "my.toml"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("a file of settings must be a TOML file that can be read, got ")
    assert f"'my.toml' ({why}" in err


def test_a_file_called_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Given to the command, it is a file like any other."""
    Path("none").write_text("failure_threshold = 7")
    assert main(["check", "--file", "none"]) == 0
    assert "failure_threshold  7      failure_threshold in none\n" in capsys.readouterr().out
    assert main(["check", "--file", "None"]) == 2
    assert capsys.readouterr().err.startswith("a file of settings must be a TOML file that can")
