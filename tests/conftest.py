"""Every test that awaits runs on asyncio, uvloop and trio, all three in virtual time."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import supervisor
from supervisor.testing import virtual_time
from tests.support.worlds import BACKENDS

NUMBERS = itertools.count()  # pytest looks through all directories for the next one
FIGURES = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--effort", type=int, default=1, help="how many times as long the proofs search for faults"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = Counter()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that shares the tests with others hands over what its proofs have counted."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["figures"] = dict(session.config.stash[FIGURES])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up what such a process hands over."""
    node.config.stash[FIGURES].update(getattr(node, "workeroutput", {}).get("figures", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("what the proofs have done")
        for what, count in sorted(config.stash[FIGURES].items()):
            terminalreporter.line(f"{count:>14,} {what}")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a test the same in every process: some texts have the address of an object in them."""
    return re.sub(r" at 0x[0-9a-f]+", "", val) if isinstance(val, str) and " at 0x" in val else None


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> int:
    """How many times as much as usual a proof is to do: 1, but for `make prove`."""
    effort: int = request.config.getoption("--effort")
    return effort


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Counter[str]:
    """What the proofs count; shown at the end of the run."""
    return request.config.stash[FIGURES]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time(request.param)


@pytest.fixture(autouse=True)
def fresh_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Give each test settings of its own: no variables, no `.env`, the defaults."""
    for variable in os.environ:
        if variable.upper().startswith("BINDU_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path_factory.mktemp(f"cwd-{next(NUMBERS)}", numbered=False))
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
