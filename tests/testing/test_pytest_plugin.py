"""The fixtures of the pytest plugin, here and with each plugin that runs async tests."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from _pytest.mark import ParameterSet
from anyio import to_thread
from pytest_circuit_supervisor import inside

from supervisor import (
    CircuitBreaker,
    CircuitCrashedError,
    Supervisor,
    app_settings,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    with_circuit_breaker,
)
from supervisor.settings import AppSettings
from supervisor.testing import Transitions, default_settings, disabled_circuits
from tests.support.worlds import Down, crash, fail, fail_times, is_refused, succeed

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.anyio

Run = Callable[..., pytest.RunResult]
FENCED = re.MULTILINE | re.DOTALL
SEARCH = CircuitBreaker("search", failure_threshold=1)


@pytest.fixture(params=range(3))
def three_times() -> None:
    """Run a test three times."""


def needs(plugin: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(plugin) is None
    return pytest.mark.skipif(absent, reason=f"{plugin} is not installed")


needs_pytest_asyncio = needs("pytest_asyncio")
needs_pytest_trio = needs("pytest_trio")


@pytest.fixture
def search() -> CircuitBreaker:
    """A breaker that joins whatever supervisor the test has."""
    return CircuitBreaker("search", failure_threshold=1, recovery_timeout=30)


class TestSupervisor:
    """`circuit_supervisor`."""

    async def test_the_test_runs_in_its_block(
        self, circuit_supervisor: Supervisor, search: CircuitBreaker
    ) -> None:
        """Breakers join it, by whatever way they are made."""
        await search.call(succeed)
        await get_circuit_breaker("by name")
        circuit_supervisor.circuit("its own")
        assert set(circuit_supervisor) == {"search", "by name", "its own"}
        assert not circuit_supervisor.is_default

    @pytest.mark.usefixtures("three_times")
    async def test_no_circuit_survives_the_test(self, circuit_supervisor: Supervisor) -> None:
        """The next one finds none, and opens the same again."""
        assert not circuit_supervisor
        await fail_times(SEARCH, 1)
        assert await is_refused(SEARCH)

    async def test_a_supervisor_within(self, circuit_supervisor: Supervisor) -> None:
        """An application that enters one of its own has its circuits there."""
        async with Supervisor() as own:
            await SEARCH.call(succeed)
            assert list(own) == ["search"]
        assert not circuit_supervisor

    async def test_a_circuit_that_is_given_up(self) -> None:
        """Its supervisor cancels the test, which fails."""
        supervisor = Supervisor(max_restarts=0)

        async def test() -> None:
            await SEARCH.call(succeed)
            crash(supervisor, "search")
            await anyio.sleep_forever()

        with pytest.raises(CircuitCrashedError):
            await inside(supervisor, test)()

    @pytest.mark.usefixtures("three_times")
    async def test_a_circuit_that_passes_calls_unguarded(
        self, circuit_supervisor: Supervisor
    ) -> None:
        """One that was given up, but refuses nothing, ends with the test as well."""
        circuit_supervisor.max_restarts = 0
        circuit_supervisor.on_give_up = "allow"
        await SEARCH.call(succeed)
        crash(circuit_supervisor, "search")
        await fail_times(SEARCH, 5)

    async def test_a_method(self, circuit_supervisor: Supervisor) -> None:
        """A test may be a method."""
        assert circuit_supervisor is not None
        assert isinstance(self, TestSupervisor)


class TestTransitions:
    """`circuit_transitions`, and `Transitions` of any supervisor."""

    async def test_what_a_circuit_went_through(
        self, circuit_transitions: Transitions, search: CircuitBreaker
    ) -> None:
        """All its states, as soon as they are asked for."""
        with pytest.raises(LookupError, match=r"^there has been no circuit 'search', but none$"):
            await circuit_transitions.of("search")
        await search.call(succeed)
        assert await circuit_transitions.of("search") == ["closed"]
        await fail_times(search, 1)
        assert await circuit_transitions.of("search") == ["closed", "open"]
        await anyio.sleep(30)
        assert await circuit_transitions.of("search") == ["closed", "open", "half_open"]
        await search.call(succeed)
        assert await circuit_transitions.of("search") == ["closed", "open", "half_open", "closed"]
        with pytest.raises(LookupError, match=r"^there has been no circuit 'other', but search$"):
            await circuit_transitions.of("other")

    async def test_a_circuit_that_ended_as_it_began(
        self, circuit_supervisor: Supervisor, circuit_transitions: Transitions
    ) -> None:
        """It has been closed, and nothing else."""
        circuit_supervisor.circuit("search")
        circuit_supervisor.stop("search")
        assert await circuit_transitions.of("search") == ["closed"]

    async def test_all_changes(self, circuit_transitions: Transitions) -> None:
        """Those of all circuits, in order, each as the event that it was."""
        for name in "ab":
            await fail_times(CircuitBreaker(name, failure_threshold=1), 1)
        changes = await circuit_transitions.all()
        assert [(change.circuit, change.to_state) for change in changes] == [
            ("a", "open"),
            ("b", "open"),
        ]
        assert {change.last_failure for change in changes} == {"Down: down"}
        assert await circuit_transitions.all() == changes

    async def test_what_a_thread_reports(
        self, circuit_transitions: Transitions, search: CircuitBreaker
    ) -> None:
        """It has been counted when the thread is done."""

        def down() -> None:
            raise Down

        with pytest.raises(Down):
            await to_thread.run_sync(search.call_from_thread, down)
        assert await circuit_transitions.of("search") == ["closed", "open"]

    async def test_a_circuit_and_its_successor(
        self, circuit_transitions: Transitions, circuit_supervisor: Supervisor
    ) -> None:
        """A new circuit of that name begins closed."""
        for _ in range(2):
            await fail_times(circuit_supervisor.circuit("x", failure_threshold=1), 1)
            circuit_supervisor.stop("x")
        assert await circuit_transitions.of("x") == ["closed", "open", "closed", "open"]

    async def test_what_would_have_happened(
        self, circuit_transitions: Transitions, search: CircuitBreaker
    ) -> None:
        """States that a circuit only would have had are left out."""
        await search.call(succeed)
        search.only_measure()
        await fail_times(search, 1)
        search.release()
        assert await circuit_transitions.of("search") == ["closed", "metrics_only", "closed"]
        assert [change.metrics_only for change in await circuit_transitions.all()] == [
            False,
            True,
            False,
        ]

    async def test_of_a_supervisor_of_your_own(self, search: CircuitBreaker) -> None:
        """From when it is made on; what was before is not seen."""
        async with Supervisor() as supervisor:
            await fail_times(search, 1)
            await Transitions(supervisor).all()
            transitions = Transitions(supervisor)
            search.reset()
            assert await transitions.of("search") == ["open", "closed"]


class TestDisabled:
    """`circuits_disabled`, and `disabled_circuits()`."""

    @pytest.mark.usefixtures("circuits_disabled", "enabled")
    async def test_every_call_is_admitted(self, search: CircuitBreaker) -> None:
        """Nothing is counted, from the first call on, however the circuit was made."""
        decorated = with_circuit_breaker("decorated")(fail)
        async with Supervisor() as supervisor:
            for breaker in (search, supervisor.circuit("own", failure_threshold=1)):
                await fail_times(breaker, 5)
                assert breaker.state == "disabled"
            assert supervisor.circuit("own", failure_threshold=1).state == "disabled"
        for _ in range(9):
            with pytest.raises(Down):
                await decorated()
        await fail_times(CircuitBreaker("default", failure_threshold=1), 5)

    async def test_until_the_block_is_left(self, search: CircuitBreaker) -> None:
        """Those that were disabled are closed then; those that were there before are left alone."""
        async with Supervisor() as supervisor:
            before = supervisor.circuit("before", failure_threshold=1)
            with disabled_circuits():
                await fail_times(before, 1)
                await fail_times(search, 5)
                assert (before.state, search.state) == ("open", "disabled")
            assert (before.state, search.state) == ("open", "closed")
            await fail_times(search, 1)
            assert search.state == "open"

    async def test_after_an_error(self, search: CircuitBreaker) -> None:
        """It is over then, too."""
        with pytest.raises(Down), disabled_circuits():
            await search.call(fail)
        assert search.state == "closed"

    def test_the_end_of_the_event_loop(self) -> None:
        """A circuit that starts when it is too late for that lets its calls pass."""
        results: list[str] = []

        async def late() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                results.append(await CircuitBreaker("late").call(succeed))

        async def main() -> None:
            tasks.append(asyncio.create_task(late()))
            await asyncio.sleep(0)

        tasks: list[asyncio.Task[None]] = []
        with disabled_circuits():
            asyncio.run(main())
        assert results == ["fine"]

    def test_a_loop_that_has_ended(self, search: CircuitBreaker) -> None:
        """Its circuits need not be enabled again."""
        with disabled_circuits():
            anyio.run(fail_times, search, 5)
        assert search.statistics().failed == 5


class TestCleared:
    """`circuits_cleared`."""

    @pytest.mark.usefixtures("circuits_cleared", "three_times")
    async def test_tests_that_share_an_event_loop(self) -> None:
        """Each one begins with no circuits."""
        assert get_circuit_breaker_sync("x") is None
        await fail_times(await get_circuit_breaker("x", failure_threshold=1), 1)


class TestSettings:
    """`circuit_settings`, and `default_settings()`."""

    @pytest.fixture
    def variables(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A developer's own settings."""
        monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "7")
        lower = "bindu_retry_api_max_attempts"
        monkeypatch.setenv(lower, "7")
        Path(".env").write_text("BINDU_CB_RECOVERY_TIMEOUT=7")
        yield
        assert (os.environ["BINDU_CB_FAILURE_THRESHOLD"], os.environ[lower]) == ("7", "7")

    @pytest.mark.usefixtures("variables")
    async def test_the_defaults(self, circuit_settings: AppSettings) -> None:
        """Whatever the environment says."""
        assert circuit_settings is app_settings
        assert app_settings.circuit_breaker.failure_threshold == 3
        assert app_settings.circuit_breaker.recovery_timeout == 30
        assert app_settings.retry.api_max_attempts == 4

    @pytest.mark.usefixtures("variables")
    async def test_until_the_block_is_left(self) -> None:
        """What the test changes is put back."""
        before = app_settings.circuit_breaker
        assert (before.failure_threshold, before.recovery_timeout) == (7, 7)
        with default_settings():
            app_settings.circuit_breaker.failure_threshold = 1
            assert (await get_circuit_breaker("x")).failure_threshold == 1
        assert app_settings.circuit_breaker is before
        assert before.failure_threshold == 7
        assert app_settings.retry.api_max_attempts == 7


TESTS = """
import anyio
import pytest
from supervisor import CircuitBreaker, CircuitBreakerOpenError

pytestmark = [{mark}]

search = CircuitBreaker("search", failure_threshold=1, recovery_timeout=86_400)


async def fail():
    raise ConnectionError("down")


async def succeed():
    return "fine"


async def open_it():
    assert search.state == "closed"
    with pytest.raises(ConnectionError):
        await search.call(fail)
    with pytest.raises(CircuitBreakerOpenError):
        await search.call(fail)


async def test_recovery(circuit_supervisor, circuit_transitions):
    await open_it()
    assert list(circuit_supervisor) == ["search"]
    await anyio.sleep(86_400)
    await search.call(succeed)
    assert await circuit_transitions.of("search") == ["closed", "open", "half_open", "closed"]


async def test_a_failing_test(circuit_supervisor):
    await open_it()
    assert False, "as it should"


@pytest.mark.parametrize("number", range(2))
class TestClass:
    async def test_nothing_is_left(self, number, circuit_supervisor):
        await open_it()


async def test_without_a_supervisor(circuits_cleared):
    await open_it()


async def test_disabled(circuits_disabled, circuit_supervisor):
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await search.call(fail)
    assert search.state == "disabled"


async def test_again(circuit_supervisor):
    await open_it()


async def test_settings(circuit_settings):
    assert circuit_settings.circuit_breaker.failure_threshold == 3
"""

ANYIO = """
import pytest
from supervisor.testing import virtual_time

@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request):
    return virtual_time(request.param)
"""

ANYIO_WITH_ONE_LOOP = """
import pytest
from supervisor.testing import virtual_time

@pytest.fixture(scope="module", params=["asyncio", "uvloop", "trio"])
def anyio_backend(request):
    return virtual_time(request.param)

@pytest.fixture(scope="module", autouse=True)
async def one_loop_for_all(anyio_backend):
    yield
"""

# Its fixtures run in other tasks than the test.
ASYNCIO = """
import pytest
import pytest_asyncio
from supervisor import CircuitBreaker
from supervisor.testing import loop_factory

def pytest_asyncio_loop_factories(config, item):
    return {name: loop_factory(name) for name in ("asyncio", "uvloop")}

async def succeed():
    return "fine"

@pytest_asyncio.fixture(autouse=True, loop_scope="{loop_scope}")
async def guarded_calls_around_the_test():
    breaker = CircuitBreaker("around")
    await breaker.call(succeed)
    yield
    await breaker.call(succeed)
"""

WITHOUT_PLUGINS = """
import asyncio
import pytest
from supervisor import CircuitBreaker
from supervisor.testing import run_in_virtual_time

async def sleep(seconds):
    await asyncio.sleep(seconds)
    return "fine"

@pytest.mark.usefixtures("circuits_cleared", "circuits_disabled", "circuit_settings")
@pytest.mark.parametrize("number", range({times}))
def test_a_plain_one(number):
    assert run_in_virtual_time(CircuitBreaker("x").call, sleep, 86_400) == "fine"
"""


class TestPlugins:
    """Tests that another plugin runs: in a process of their own, with warnings as errors."""

    @pytest.fixture
    def run(self, pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
        """Run tests with the plugins that are installed but for those named."""

        def run(
            tests: str, conftest: str, *without: str, ini: str = "", marked: str = "", ways: int = 1
        ) -> pytest.RunResult:
            settings = ["[pytest]", "filterwarnings = error", ini]
            if "asyncio" not in without and importlib.util.find_spec("pytest_asyncio"):
                settings.append("asyncio_default_fixture_loop_scope = function")
            pytester.makeini("\n".join(settings))
            pytester.makeconftest(conftest)
            pytester.makepyfile(tests.replace("{mark}", marked).replace("{times}", "7"))
            result = pytester.runpytest_subprocess(
                "-p", "no:cacheprovider", *(f"-pno:{plugin}" for plugin in without), timeout=60
            )
            result.assert_outcomes(passed=7 * ways, failed=ways * tests.count("as it should"))
            return result

        return run

    def test_anyio(self, run: Run) -> None:
        """With anyio's plugin, and an event loop for each test."""
        run(TESTS, ANYIO, "asyncio", "trio", marked="pytest.mark.anyio", ways=3)

    def test_anyio_with_one_loop(self, run: Run) -> None:
        """And with one for all of them, and the other plugins beside it."""
        run(TESTS, ANYIO_WITH_ONE_LOOP, marked="pytest.mark.anyio", ways=3)

    @needs_pytest_asyncio
    def test_pytest_asyncio(self, run: Run) -> None:
        """With pytest-asyncio, and an event loop for each test."""
        conftest = ASYNCIO.replace("{loop_scope}", "function")
        run(TESTS, conftest, "anyio", "trio", marked="pytest.mark.asyncio", ways=2)

    @needs_pytest_asyncio
    def test_pytest_asyncio_with_one_loop(self, run: Run) -> None:
        """And with one for all of them, and the other plugins beside it."""
        conftest = ASYNCIO.replace("{loop_scope}", "module")
        run(TESTS, conftest, marked='pytest.mark.asyncio(loop_scope="module")', ways=2)

    @needs_pytest_asyncio
    def test_pytest_asyncio_in_auto_mode(self, run: Run) -> None:
        """No test needs a mark then."""
        conftest = ASYNCIO.replace("{loop_scope}", "function")
        run(TESTS, conftest, ini="asyncio_mode = auto", ways=2)

    @needs_pytest_trio
    def test_pytest_trio(self, run: Run) -> None:
        """With pytest-trio, and the clock that it brings."""
        tests = TESTS.replace("circuit_transitions)", "circuit_transitions, autojump_clock)")
        run(tests, "", "anyio", "asyncio", marked="pytest.mark.trio")

    def test_none_of_them(self, run: Run) -> None:
        """Tests that start their event loops themselves."""
        run(WITHOUT_PLUGINS, "", "anyio", "asyncio", "trio")

    def test_a_plain_test_has_no_block_to_run_in(self, pytester: pytest.Pytester) -> None:
        """The error says what to do."""
        pytester.makepyfile("def test_it(circuit_supervisor): pass")
        result = pytester.runpytest_inprocess("-pno:asyncio", "-pno:trio")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines("*`async with Supervisor() as supervisor:`")

    def test_it_can_be_left_out(self, pytester: pytest.Pytester) -> None:
        """By its name."""
        pytester.makepyfile("def test_it(circuits_cleared): pass")
        without = [f"-pno:{plugin}" for plugin in ("circuit_supervisor", "asyncio", "trio")]
        result = pytester.runpytest_inprocess(*without)
        result.stdout.fnmatch_lines("*fixture 'circuits_cleared' not found")


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-code.md"
NEEDS = {"anyio": [], "asyncio": [needs_pytest_asyncio], "trio": [needs_pytest_trio]}


def projects() -> list[ParameterSet]:
    """Return the page's projects: a ```ini block, and ```python blocks that begin with a name.

    A section that has no ```ini block goes by the first one, and its `conftest.py`.
    """
    found: list[dict[str, str]] = []
    for section in PAGE.read_text().split("\n## "):
        files = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", section, FENCED))
        settings = re.search(r"^```ini\n(.*?)^```$", section, FENCED)
        if settings is not None:
            found.append({**files, "pytest.ini": settings[1]})
        elif files:
            found.append({**found[0], **files})
    return [
        pytest.param(files, plugin, marks=NEEDS[plugin])
        for files in found
        for plugin in re.findall(r"^(\w+)_mode", files["pytest.ini"], re.MULTILINE)
    ]


@pytest.mark.parametrize(("files", "plugin"), projects())
def test_the_page_about_tests(
    pytester: pytest.Pytester, files: dict[str, str], plugin: str
) -> None:
    """The tests on it pass, each with the plugin that it is about."""
    for name, text in files.items():
        Path(name).write_text(text)
    without = [f"-pno:{other}" for other in NEEDS.keys() - {plugin}]
    result = pytester.runpytest_subprocess("-Werror", *without, timeout=60)
    assert result.ret == pytest.ExitCode.OK
