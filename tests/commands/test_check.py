"""The command `check`: the policies that circuits get, and where the values come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.__main__ import main
from supervisor.settings.circuits import FIELDS

TOML = """
enabled = true
failure_threshold = 5

[circuits."api:fetchUser"]
window_seconds = 60
failure_rate = 0.5
"""


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with settings, beside those in the environment and in `.env`."""
    Path("my.toml").write_text(TOML)
    Path(".env").write_text("BINDU_CB_WINDOW_CALLS=100\n")
    monkeypatch.setenv("BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT", "2.5")
    monkeypatch.setenv("BINDU_CB_CIRCUITS__MAIL__IGNORE", "LookupError")
    return "my.toml"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, and return what it prints."""
    assert main(["check", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return "\n" + out


def test_without_any_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is as by default, and so is every circuit."""
    assert (
        printed(capsys)
        == """
enabled              false  default

every circuit
  failure_threshold  3      default
  recovery_timeout   30.0   default
  success_threshold  1      default
  probe_timeout      60.0   default
"""
    )


def test_circuits_that_have_settings(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is shown by its whole name, if that is known, with what is not as by default."""
    assert (
        printed(capsys, "--file", file)
        == """
enabled              true         enabled in my.toml

every other circuit
  failure_threshold  5            failure_threshold in my.toml
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env

circuit api:fetchUser
  failure_threshold  5            failure_threshold in my.toml
  recovery_timeout   2.5          BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       none         circuits."api:fetchUser".window_seconds in my.toml
  window_seconds     60.0         circuits."api:fetchUser".window_seconds in my.toml
  failure_rate       0.5          circuits."api:fetchUser".failure_rate in my.toml

circuit mail
  failure_threshold  5            failure_threshold in my.toml
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  ignore             LookupError  BINDU_CB_CIRCUITS__MAIL__IGNORE
"""
    )


def test_circuits_that_are_named(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only those are shown, whether or not they have settings; without `--file`, without it."""
    assert (
        printed(capsys, "mail", "Mail", "b")
        == """
enabled              false        default

every other circuit
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env

circuit mail
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  ignore             LookupError  BINDU_CB_CIRCUITS__MAIL__IGNORE

circuit Mail
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  ignore             LookupError  BINDU_CB_CIRCUITS__MAIL__IGNORE

circuit b
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
"""
    )


def test_all_fields(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--all`, each field is shown for each circuit."""
    lines = printed(capsys, "--all", "mail").splitlines()
    fields = [line.split()[0] for line in lines if line.startswith("  ")]
    assert fields == [*FIELDS] * 2
    assert "  slow_call_rate        none         default" in lines
    assert "  failure_on            Exception    default" in lines
    assert "  failure_on_cancel     false        default" in lines


def test_names_that_are_spelt_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole names are shown each; a mere spelling only if no whole name goes with it."""
    names = ["api_x", "api:x", "api.x", "b", "数据"]
    Path("my.toml").write_text("".join(f"[circuits.'{name}']\n" for name in names))
    lines = printed(capsys, "--file", "my.toml").splitlines()
    shown = [line for line in lines if line.startswith("circuit ")]
    assert shown == ["circuit api.x", "circuit api:x", "circuit b", "circuit 数据"]


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("ramp = 0", "ramp in my.toml must be more than 0 and finite (seconds), got 0"),
        ("enable = 1", "unknown setting enable=1 in my.toml; did you mean enabled?"),
        (
            "circuits.x.failure_rate = 0.5",
            (
                "circuit 'x': failure_rate=0.5 needs window_calls or window_seconds"
                " (circuits.x.failure_rate in my.toml)"
            ),
        ),
    ],
    ids=["value", "key", "conflict"],
)
def test_a_mistake(capsys: pytest.CaptureFixture[str], toml: str, text: str) -> None:
    """The command fails, and says what is wrong."""
    Path("my.toml").write_text(toml)
    assert main(["check", "--file", "my.toml"]) == 2
    assert capsys.readouterr() == ("", f"{text}\n")
