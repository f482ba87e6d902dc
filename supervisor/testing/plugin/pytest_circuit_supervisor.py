"""The pytest plugin of circuit-supervisor: fixtures for tests of code that has circuits in it.

It is a module of its own because pytest imports it in every run, whether or not a test has to do
with circuits. It imports the package `supervisor`, which takes a while, in the first fixture that
a test asks for. All of its fixtures have to be asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from supervisor import Supervisor
    from supervisor.settings import AppSettings
    from supervisor.testing import Transitions


@pytest.fixture
def circuit_supervisor(request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    """A `Supervisor` in whose block the (async) test runs, so that its circuits end with it.

    It is entered when the test begins and left when it ends. A fixture that needs a breaker
    makes a `CircuitBreaker`, which joins the supervisor when the test calls it.
    """
    from supervisor import Supervisor

    test = request.node
    original = getattr(test, "obj", None)
    if not iscoroutinefunction(original):
        pytest.fail(
            "circuit_supervisor is for async tests: the test runs in the supervisor's block."
            " A test that starts its event loop itself enters one of its own:"
            " `async with Supervisor() as supervisor:`",
            pytrace=False,
        )
    supervisor = Supervisor()
    # Not as an async fixture: each plugin for async tests has its own way to declare those, and
    # some run them in other tasks, or on another event loop, than the test.
    test.obj = inside(supervisor, original)
    yield supervisor
    test.obj = original


@pytest.fixture
def circuit_transitions(circuit_supervisor: Supervisor) -> Transitions:
    """What the circuits of `circuit_supervisor` went through, as `Transitions`."""
    from supervisor.testing import Transitions

    return Transitions(circuit_supervisor)


@pytest.fixture
def circuits_cleared() -> Iterator[None]:
    """Stop and forget all circuits of this thread's event loops, and what is kept of others in this
    process, before the test, and after it.

    For tests that share an event loop, and use circuits without a supervisor of their own.
    """
    from supervisor.testing import clear_circuits

    clear_circuits()
    yield
    clear_circuits()


@pytest.fixture
def circuits_disabled() -> Iterator[None]:
    """Let every circuit that the test starts admit all calls, and count nothing."""
    from supervisor.testing import disabled_circuits

    with disabled_circuits():
        yield


@pytest.fixture
def circuit_settings() -> Iterator[AppSettings]:
    """Give the test `app_settings` with the defaults, and put back afterwards what was there.

    Variables of the environment and the file `.env` count for nothing meanwhile.
    """
    from supervisor.testing import default_settings

    with default_settings() as settings:
        yield settings


def inside(
    supervisor: Supervisor, test: Callable[..., Awaitable[object]]
) -> Callable[..., Awaitable[None]]:
    """Return `test` as an async function that runs in the supervisor's block.

    The block belongs to the task that runs the test, whatever tasks its fixtures run in.
    """

    @wraps(test)
    async def guarded(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        async with supervisor:
            try:
                await test(*args, **kwargs)
            finally:
                _end_circuits(supervisor)

    return guarded


def _end_circuits(supervisor: Supervisor) -> None:
    """End all circuits, so that breakers at module level can serve the next test.

    That may run on the same event loop. Circuits that a block only leaves behind refuse all
    further calls, and until its next call, a breaker shows what its last circuit was like.
    """
    for name in list(supervisor):
        with suppress(RuntimeError):  # it has been given up
            supervisor[name].release()
            supervisor[name].reset()
        supervisor.stop(name)
