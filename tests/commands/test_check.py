"""The command `check`: the policies that circuits get, and where the values come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from supervisor.__main__ import main
from supervisor.commands.check import WHO_READS
from supervisor.settings import RetrySettings
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
    assert out.endswith(f"\n\n{WHO_READS}\n")
    return "\n" + out.removesuffix(f"\n{WHO_READS}\n")


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
  = Opens after 3 failures in a row, for 30 s; 1 successful probe closes it.
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
  = Opens after 5 failures in the last 100 calls, for 30 s; 1 successful probe closes it.

circuit api:fetchUser
  failure_threshold  5            failure_threshold in my.toml
  recovery_timeout   2.5          BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       none         circuits."api:fetchUser".window_seconds in my.toml
  window_seconds     60.0         circuits."api:fetchUser".window_seconds in my.toml
  failure_rate       0.5          circuits."api:fetchUser".failure_rate in my.toml
  = Opens when 50 % of the calls have failed in the last 60 s, 10 at least, for 2.5 s; 1 successful probe closes it.

circuit mail
  failure_threshold  5            failure_threshold in my.toml
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  ignore             LookupError  BINDU_CB_CIRCUITS__MAIL__IGNORE
  = Opens after 5 failures in the last 100 calls, for 30 s; 1 successful probe closes it.
"""  # noqa: E501
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
  = Opens after 3 failures in the last 100 calls, for 30 s; 1 successful probe closes it.

circuit mail
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  ignore             LookupError  BINDU_CB_CIRCUITS__MAIL__IGNORE
  = Opens after 3 failures in the last 100 calls, for 30 s; 1 successful probe closes it.

circuit Mail
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  ignore             LookupError  BINDU_CB_CIRCUITS__MAIL__IGNORE
  = Opens after 3 failures in the last 100 calls, for 30 s; 1 successful probe closes it.

circuit b
  failure_threshold  3            default
  recovery_timeout   30.0         default
  success_threshold  1            default
  probe_timeout      60.0         default
  window_calls       100          BINDU_CB_WINDOW_CALLS in .env
  = Opens after 3 failures in the last 100 calls, for 30 s; 1 successful probe closes it.
"""
    )


def test_all_fields(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--all`, each field is shown for each circuit."""
    lines = printed(capsys, "--all", "mail").splitlines()
    fields = [line.split()[0] for line in lines if line.startswith("  ")]
    assert fields == [*FIELDS, "="] * 2 + [*RetrySettings.model_fields]
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
        (
            '[circuits."a\\nb"]',
            (
                "circuit 'a\\nb': a circuit's name must have 1 to 255 printable characters,"
                " got 'a\\nb'"
            ),
        ),
        (
            f"retry_budget_minimum = 1{'0' * 101}",
            f"retry_budget_minimum in my.toml must be at most 1e100, got 1{'0' * 101}",
        ),
    ],
    ids=["value", "key", "conflict", "name", "number"],
)
def test_a_mistake(capsys: pytest.CaptureFixture[str], toml: str, text: str) -> None:
    """The command fails, and says what is wrong."""
    Path("my.toml").write_text(toml)
    assert main(["check", "--file", "my.toml"]) == 2
    assert capsys.readouterr() == ("", f"{text}\n")


def test_where_circuits_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is shown if it is given, or if everything is."""
    assert "keep" not in printed(capsys)
    assert "\nkeep                    none       default\n" in printed(capsys, "--all")
    monkeypatch.setenv("BINDU_CB_KEEP", "process")
    assert "\nkeep                 process  BINDU_CB_KEEP\n" in printed(capsys)


def test_families_of_circuits(capsys: pytest.CaptureFixture[str]) -> None:
    """They are shown as such, and what a name has by them."""
    Path("my.toml").write_text("[circuits.'tenant:*']\nfailure_threshold = 7\n")
    assert "\ncircuits tenant:*\n  failure_threshold  7 " in printed(capsys, "--file", "my.toml")
    shown = printed(capsys, "--file", "my.toml", "tenant:5")
    assert (
        "\ncircuit tenant:5\n"
        '  failure_threshold  7      circuits."tenant:*".failure_threshold in my.toml\n'
    ) in shown


def test_retries(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given for them is shown, and checked."""
    assert "retries" not in printed(capsys)
    monkeypatch.setenv("BINDU_RETRY_API_MAX_WAIT", "20")
    assert "\nretries\n  api_max_wait  20.0  BINDU_RETRY_API_MAX_WAIT\n" in printed(capsys)
    monkeypatch.setenv("BINDU_RETRY_API_MAX_ATTEMPTS", "0")
    assert main(["check"]) == 2
    text = "BINDU_RETRY_API_MAX_ATTEMPTS must be at least 1, got '0'\n"
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256])
def test_what_is_no_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """No circuit can be called so."""
    assert main(["check", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith("a circuit's name must have 1 to 255 printable characters, got")
    assert err.count("\n") == 1


def test_warnings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They follow what is risky; the status tells of them only if that is asked for."""
    assert main(["check", "--strict"]) == 0
    monkeypatch.setenv("BINDU_CB_THROTTLE", "1.01")
    assert "\n  warning: throttle=1.01 counts refusals as requests" in printed(capsys)
    assert main(["check", "--strict"]) == 3
    monkeypatch.delenv("BINDU_CB_THROTTLE")
    monkeypatch.setenv("BINDU_RETRY_API_MAX_WAIT", "31")
    shown = printed(capsys)
    assert "\n  warning: api_max_wait=31 is more than recovery_timeout=30: a retry waits" in shown
    assert main(["check", "--strict"]) == 3


def test_for_machines(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as one JSON object."""
    monkeypatch.setenv("BINDU_CB_HALF_OPEN_TIMEOUT", "9")
    monkeypatch.setenv("BINDU_CB_SUCCESS_THRESHOLD", "2")
    assert main(["check", "--file", file, "--json", "mail"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"]["enabled"] == {"value": True, "origin": "enabled in my.toml"}
    other, mail = told["circuits"]
    assert (other["name"], mail["name"]) == (None, "mail")
    assert mail["meaning"].startswith("Opens after 5 failures in the last 100 calls")
    assert mail["warnings"][0].startswith("half_open_timeout=9 is for 2 probes")
    ignored = {"value": "LookupError", "origin": "BINDU_CB_CIRCUITS__MAIL__IGNORE"}
    assert mail["fields"]["ignore"] == ignored
    assert mail["fields"]["ramp"] == {"value": None, "origin": "default"}
    assert told["retries"] == {"warnings": [], "fields": RetrySettings().model_dump()}
