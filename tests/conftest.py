"""Every test that awaits runs on asyncio, uvloop and trio, all three in virtual time."""

from __future__ import annotations

import gc
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import hypothesis  # noqa: F401  (before all is frozen: it asks the collector who refers to trio's luck)
import pytest

import supervisor
from supervisor.testing import virtual_time
from tests.support.loops import OTHERS, changed
from tests.support.seeds import Seeds, drawn_seed
from tests.support.worlds import BACKENDS

FIGURES = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--effort", type=int, default=1, help="how many times as long the proofs search for faults"
    )
    parser.addoption(
        "--seed",
        type=int,
        help="where the luck of the proofs comes from; with an effort of 1, it is the same each"
        " time without, beyond it a new one",
    )

    parser.addoption(
        "--eager",
        action="store_true",
        help="all tests but those on trio, with tasks that begin at once",
    )
    parser.addoption(
        "--loop",
        choices=OTHERS,
        help="only tests that await, on the loop of this package in the place of uvloop's",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = Counter()
    if config.option.effort > 1 and config.option.seed is None:
        config.option.seed = drawn_seed()  # processes that share the tests are told it
    if config.getoption("--eager") and sys.version_info < (3, 12):
        raise pytest.UsageError("--eager needs Python 3.12 or later")


def pytest_report_header(config: pytest.Config) -> str | None:
    seed = config.option.seed
    return None if seed is None else f"luck of the proofs: --seed {seed}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count no lines on uvloop: they are asyncio's, and counting takes longer than the tests do."""
    counts = sys.gettrace()
    if counts is None or _backend_of(item) != "uvloop":
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(counts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say by which luck a proof has failed."""
    report = yield
    seeds = getattr(item, "funcargs", {}).get("seeds")
    if report.failed and seeds is not None:
        report.sections.append(("luck", str(seeds)))
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what would be the same on another loop."""
    for item in items:
        if " at 0x" in item.nodeid:  # processes that share the tests would not find it
            raise pytest.UsageError(f"name a test's parameters without an address: {item.nodeid}")
    left_out: list[pytest.Item] = []
    if config.getoption("--loop") is not None:
        left_out = [item for item in items if _backend_of(item) != "uvloop"]
    elif config.getoption("--eager"):
        left_out = [item for item in items if _backend_of(item) == "trio"]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        away = set(left_out)
        items[:] = [item for item in items if item not in away]


def _backend_of(item: pytest.Item) -> object:
    call = getattr(item, "callspec", None)
    return None if call is None else call.params.get("anyio_backend")


def freeze() -> None:
    """Let the collector pass over all that there is: many tests call it."""
    gc.collect()
    if hasattr(gc, "freeze"):  # PyPy's has none
        gc.freeze()


def pytest_collection_finish() -> None:
    """Do so with ten thousand tests and all modules."""
    freeze()


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """Do so with what pytest keeps of each test; and anew after a test of what unfreezes."""
    yield
    freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that shares the tests with others hands over what its proofs have counted."""
    if hasattr(gc, "unfreeze"):
        gc.unfreeze()
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
def seeds(request: pytest.FixtureRequest) -> Seeds:
    """What a proof tries: the same in every run, and once, but for `make prove`."""
    options = request.config.option
    return Seeds(request.node.name, options.seed, options.effort)


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> int:
    """How many times as long a proof searches that tries one place after the other."""
    times: int = request.config.option.effort
    return times


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Counter[str]:
    """What the proofs count; shown at the end of the run."""
    return request.config.stash[FIGURES]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    name, options = virtual_time(request.param)
    if name == "asyncio":
        loop: str | None = request.config.getoption("--loop")
        # uvloop hands task factories what asyncio's own eager one only takes from 3.13.3 on.
        can_be_eager = request.param != "uvloop" or not (3, 13) <= sys.version_info < (3, 13, 3)
        is_eager = request.config.getoption("--eager") and can_be_eager
        options = changed(options, loop, is_eager)
    return name, options


@pytest.fixture(scope="session")
def empty_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: to make and to remove one for each takes a tenth of their time."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch, empty_directory: Path) -> Iterator[None]:
    """Give each test settings of its own: no variables, no `.env`, the defaults."""
    for variable in os.environ:
        if variable.upper().startswith("BINDU_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(empty_directory)
    groups = vars(supervisor.app_settings)
    groups.clear()
    yield
    groups.clear()
    for left in empty_directory.iterdir():
        rmtree(left) if left.is_dir() else left.unlink()
    supervisor.forget_kept_circuits()


@pytest.fixture
def known_settings() -> None:
    """Have the settings read, so that a first call has no turns of its own for that."""
    supervisor.app_settings.read(retries=True)


@pytest.fixture
def enabled() -> None:
    """Switch circuits on for the decorators."""
    supervisor.app_settings.circuit_breaker.enabled = True


@pytest.fixture
def whole_failures() -> None:
    """Let refusals show all of a failure, so that it can be compared."""
    supervisor.app_settings.circuit_breaker.show_failures = True


@pytest.fixture
def seeded() -> Iterator[random.Random]:
    """Seed the random numbers of the process, and return a copy of them."""
    state = random.getstate()
    random.seed(5)
    yield random.Random(5)
    random.setstate(state)
