"""Every test that awaits runs on asyncio, uvloop and trio, all three in virtual time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
import trio.testing

import supervisor
from tests.virtual_time import VirtualTimeLoop, VirtualTimeUvloop


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    match request.param:
        case "trio":
            return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
        case "uvloop":
            return "asyncio", {"loop_factory": VirtualTimeUvloop}
        case _:
            return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def fresh_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Give each test settings of its own: no variables, no `.env`, the defaults."""
    for variable in os.environ:
        if variable.upper().startswith("BINDU_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    groups = vars(supervisor.app_settings)
    groups.clear()
    yield
    groups.clear()


@pytest.fixture
def enabled() -> None:
    """Switch circuits on for the decorators."""
    supervisor.app_settings.circuit_breaker.enabled = True


@pytest.fixture
def seeded() -> Iterator[random.Random]:
    """Seed the random numbers of the process, and return a copy of them."""
    state = random.getstate()
    random.seed(5)
    yield random.Random(5)
    random.setstate(state)
