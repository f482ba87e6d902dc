"""Families of circuits: settings of names that match a pattern, the longest one first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from supervisor import (
    CircuitBreakerSettings,
    CircuitOverrides,
    MemorySharing,
    Policy,
    SettingsError,
)
from supervisor.settings import regex_of, whole_names

TOML = """
failure_threshold = 9
window_calls = 100

[circuits."tenant:*"]
failure_threshold = 5
window_seconds = 60

[circuits."tenant:*:mail"]
recovery_timeout = 5

[circuits."*"]
success_threshold = 2
recovery_timeout = 7

[circuits."tenant:7:mail"]
failure_threshold = 1
"""


@pytest.fixture
def settings() -> CircuitBreakerSettings:
    Path("my.toml").write_text(TOML)
    return CircuitBreakerSettings(file="my.toml")


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("tenant:7:mail", Policy(1, 5.0, 2, window_seconds=60)),
        ("tenant:8:mail", Policy(5, 5.0, 2, window_seconds=60)),
        ("tenant:8", Policy(5, 7.0, 2, window_seconds=60)),
        ("tenant:", Policy(5, 7.0, 2, window_seconds=60)),
        ("Tenant:8", Policy(9, 7.0, 2, window_calls=100)),
        ("tenant", Policy(9, 7.0, 2, window_calls=100)),
        ("tenant:*", Policy(5, 7.0, 2, window_seconds=60)),
        ("*", Policy(9, 7.0, 2, window_calls=100)),
        (None, Policy(9, window_calls=100)),
    ],
)
def test_the_longest_pattern_goes_first(
    settings: CircuitBreakerSettings, name: str | None, policy: Policy
) -> None:
    """What a name's own settings leave out comes from the longest pattern, then from shorter ones,
    then from those of all circuits; a window displaces one of the other kind on the way.
    """
    assert settings.policy(name) == policy


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*b", "ab", True),
        ("a*ba", "aba", True),
        ("aba*ba", "aba", False),
        ("*ab*", "aab", True),
        ("*ab*ab", "aabab", True),
        ("*ab*ab", "aab", False),
        ("**", "", True),
        ("a.*", "ab", False),
        ("*a" * 20 + "*b", "a" * 255, False),  # who tries all ways comes to no end
    ],
)
def test_what_fits_a_pattern(pattern: str, name: str, fits: bool) -> None:
    """Also where circuits are chosen that are shared."""
    assert (re.fullmatch(regex_of(pattern), name) is not None) == fits
    assert MemorySharing(shared=[pattern]).shares(name) == fits


def test_where_a_value_of_a_family_comes_from(settings: CircuitBreakerSettings) -> None:
    """It is named by the pattern's key."""
    explained = settings.explain("tenant:8")
    assert str(explained["window_seconds"].origin) == (
        'circuits."tenant:*".window_seconds in my.toml'
    )
    assert str(explained["window_calls"].origin) == 'circuits."tenant:*".window_seconds in my.toml'


def test_families_in_code() -> None:
    """Code gives them as it gives single circuits."""
    settings = CircuitBreakerSettings(circuits={"http:*": CircuitOverrides(failure_threshold=4)})
    assert settings.policy("http:a.example").failure_threshold == 4
    settings.circuits = {"http:*.example": {"failure_threshold": 6}}  # type: ignore[dict-item]
    assert settings.policy("http:a.example").failure_threshold == 6
    assert settings.policy("http:a.org").failure_threshold == 3


def test_what_else_a_pattern_may_hold() -> None:
    """All but `*` stands for itself, as in a name."""
    settings = CircuitBreakerSettings(circuits={"a.[b]?*": {"failure_threshold": 4}})
    assert settings.policy("a.[b]?\u2028c").failure_threshold == 4
    assert settings.policy("axb!c").failure_threshold == 3


def test_values_of_a_family_have_to_go_together() -> None:
    """They are looked at when the settings are read."""
    text = r"circuits 'http:\*': failure_rate=0.5 needs window_calls or window_seconds \(code\)"
    with pytest.raises(SettingsError, match=f"^{text}$"):
        CircuitBreakerSettings(circuits={"http:*": {"failure_rate": 0.5}})


def test_a_pattern_is_no_spelling() -> None:
    """A family leaves a circuit alone whose name variables would spell as its pattern."""
    assert whole_names(["tenant", "tenant:*", "api_x", "api:x"]) == ["api:x", "tenant", "tenant:*"]


@pytest.mark.parametrize("name", ["TENANT:*", "TENANT_*", "*"])
@pytest.mark.parametrize("in_file", [False, True])
def test_no_variable_is_for_a_family(
    monkeypatch: pytest.MonkeyPatch, name: str, in_file: bool
) -> None:
    """Who tries it is told what to do instead."""
    variable = f"BINDU_CB_CIRCUITS__{name}__RECOVERY_TIMEOUT"
    if in_file:
        Path(".env").write_text(f"{variable}=5\n")
    else:
        monkeypatch.setenv(variable, "5")
    with pytest.raises(SettingsError, match=r"let BINDU_CB_FILE name a TOML file, which has it as"):
        CircuitBreakerSettings()
