"""Dotted names: what they stand for is imported when it is first needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from supervisor import CircuitBreakerSettings, Policy, SettingsError
from supervisor.__main__ import main
from supervisor.settings import written


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """One that has not been imported."""
    Path("judges_of_ours.py").write_text("class Ours(Exception): pass\nnumber = 5\n")
    monkeypatch.syspath_prepend(".")
    monkeypatch.delitem(sys.modules, "judges_of_ours", raising=False)
    return "judges_of_ours"


def test_a_module_is_imported_when_a_policy_is_needed(module: str) -> None:
    """Not when the settings are read, nor when somebody asks where they come from."""
    settings = CircuitBreakerSettings(
        ignore=f"{module}:Ours, KeyError", circuits={"x": {"failure_on": [f"{module}.Ours"]}}
    )
    assert written(settings.explain("x")["ignore"].value) == f"{module}:Ours,KeyError"
    assert module not in sys.modules
    policy = settings.policy("x")
    ours = sys.modules[module].Ours
    assert policy == Policy(ignore=(ours, KeyError), failure_on=(ours,))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("{}:number", "BINDU_CB_IGNORE must be a function, got '{}:number'"),
        (["{}:number"], "BINDU_CB_IGNORE must be types of exceptions or functions, got"),
        ("{}:nothing", "BINDU_CB_IGNORE must be what can be imported, as package.module:name, got"),
    ],
)
def test_what_turns_out_to_be_wrong(module: str, value: str | list[str], text: str) -> None:
    """It is told as soon as it is known, as any other mistake in settings."""
    value = value.format(module) if isinstance(value, str) else [value[0].format(module)]
    settings = CircuitBreakerSettings(ignore=value)
    with pytest.raises(SettingsError) as caught:
        settings.policy("x")
    assert str(caught.value).startswith(text.format(module))


def test_a_name_that_is_very_long(module: str) -> None:
    """The error shows the beginning of it."""
    with pytest.raises(SettingsError) as caught:
        CircuitBreakerSettings(ignore=f"no_such_package.{'x' * 9000}")
    assert len(str(caught.value)) < 1200


def test_values_that_do_not_go_together_are_told_before(module: str) -> None:
    """Nothing has to be imported for that."""
    with pytest.raises(SettingsError, match="needs window_calls"):
        CircuitBreakerSettings(ignore=f"{module}:Ours", failure_rate=0.5)
    assert module not in sys.modules


def test_the_command_imports_everything(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` finds what cannot be imported, for each circuit; so it can guard a deployment."""
    Path("my.toml").write_text(f"[circuits.x]\nignore = '{module}:nothing'\n")
    assert main(["check", "--file", "my.toml"]) == 2
    assert capsys.readouterr().err.startswith("circuits.x.ignore in my.toml must be what can be")


APPLICATION = """
    import asyncio
    from supervisor import Failure, retry_api_call, with_circuit_breaker
    {before}

    @with_circuit_breaker("a")
    async def fetch():
        raise ConnectionError("down")

    @retry_api_call(max_attempts=1)
    async def fetch_again():
        raise ConnectionError("down")

    def judge(it):
        judged.append(it)

    judged = []
    {after}
    async def main():
        for function in (fetch, fetch_again):
            try:
                await function()
            except ConnectionError:
                pass

    if __name__ == "__main__":
        asyncio.run(main())
        print(len(judged))
"""


@pytest.mark.parametrize(
    "judge",
    ["application:judge", "__main__:judge", "other.judge"],
    ids=["itself", "main", "another that imports it"],
)
def test_a_module_that_decorates_functions_itself(tmp_path: Path, judge: str) -> None:
    """It may hold what the settings name, or import what does: there is no circle."""
    application = APPLICATION.format(
        before="import other" if judge == "other.judge" else "", after=""
    )
    (tmp_path / "application.py").write_text(dedent(application))
    (tmp_path / "other.py").write_text(
        "from supervisor import with_circuit_breaker\n"
        "@with_circuit_breaker('b')\nasync def other(): ...\n"
        "def judge(it):\n    import sys\n    sys.modules['__main__'].judged.append(it)\n"
    )
    run = "import asyncio, application as a, sys; sys.modules['__main__'].judged = a.judged;"
    run += "asyncio.run(a.main()); print(len(a.judged))"
    command = ["application.py"] if judge == "__main__:judge" else ["-c", run]
    process = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={"PATH": "", "BINDU_CB_ENABLED": "1", "BINDU_CB_CLASSIFY": judge},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.stdout, process.stderr) == ("2\n", "")
