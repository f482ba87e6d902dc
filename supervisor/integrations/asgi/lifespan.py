"""A supervisor that lives as long as the application."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus

from supervisor import Supervisor
from supervisor.integrations.asgi.history import History
from supervisor.integrations.asgi.protocol import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    check_app,
    hand_on,
)

# The standard library's, which servers log by: what is said here is not to wait until somebody
# has enabled it.
_logger: Final = logging.getLogger(__name__)

_BY_DEFAULT: Final = partial(Supervisor, on_give_up="allow")


class SupervisorMiddleware:
    """Enters a `Supervisor` when the application starts, and leaves it when that has ended.

    It is the current one of the server's event loop, whose circuits all requests share. Requests
    find it as `scope["state"]["supervisor"]`. The application need not have a lifespan of its own.
    If it has one, its own start and end have circuits, too.

    A supervisor that cannot be made or entered is a start that has failed. One that ends since it
    has given up a circuit is logged, and `Liveness` fails; the application goes on, and guarded
    calls are refused. That happens only if it has `on_give_up="escalate"`.

    Args:
        app: the application.
        make: returns a new supervisor at each start. By default, it is one that lets the calls of
            a circuit pass unguarded which it has given up: a server has nobody to escalate to.

    Raises:
        TypeError: `app` or `make` cannot be called.
    """

    def __init__(
        self,
        app: App,
        make: Callable[[], Supervisor] = _BY_DEFAULT,
    ) -> None:
        if not callable(make):
            raise TypeError(f"make must be a function that returns a new Supervisor, got {make!r}")
        self._app = check_app(app)
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application: in a supervisor, if this is its lifespan."""
        if scope["type"] == "lifespan":
            await _Lifespan(self._app, self._make, scope, receive, send).run()
        else:
            await self._app(scope, receive, send)


class _Lifespan:
    """One lifespan: that of the application, within that of a supervisor.

    The application's last word is held back until the supervisor has been left, since the server
    may end the event loop at once when it has heard it.
    """

    def __init__(
        self,
        app: App,
        make: Callable[[], Supervisor],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._make = make
        self._scope = scope
        self._receive = receive
        self._send = send
        self._history: History | None = None
        self._heard: str | None = None  # the last message of the server's
        self._has_started = False
        self._last_word: Message | None = None
        self._over = anyio.Event()

    async def run(self) -> None:
        """Run it whole."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            # What is raised in here would come out as a group.
            try:
                await self._begin(tasks)
                await self._run_app()
            except Exception as error:
                failure = error
            self._over.set()
        if self._last_word is not None:
            await self._send(self._last_word)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # or this frame and its traceback would keep each other

    async def _begin(self, tasks: anyio.abc.TaskGroup) -> None:
        try:
            supervisor = _checked(self._make())
            # In a task of its own: one that escalates cancels what is in its block.
            await tasks.start(self._supervise, supervisor)
        except Exception:
            await self._receive()
            self._last_word = {
                "type": "lifespan.startup.failed",
                "message": traceback.format_exc(),
            }
            raise
        self._history = History(supervisor)
        tasks.start_soon(self._history.follow, supervisor.events())
        hand_on(self._scope, supervisor, self._history)

    async def _supervise(
        self, supervisor: Supervisor, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        entered = False
        try:
            async with supervisor:
                entered = True
                task_status.started()
                await self._over.wait()
        except Exception:
            if not entered:
                raise
            _logger.critical(
                "the supervisor has ended, and the application goes on without it: calls of its"
                " circuits are refused",
                exc_info=True,
            )

    async def _run_app(self) -> None:
        try:
            await self._app(self._scope, self._hear, self._say)
        except Exception as error:
            if self._last_word is not None or self._heard == "lifespan.shutdown":
                raise
            self._log_end_of_app(error)
        if self._last_word is None:
            await self._speak_for_app()

    def _log_end_of_app(self, error: Exception) -> None:
        """Say that the application's lifespan has ended: the server goes on, and so do circuits."""
        if self._heard is None:
            _logger.info("the application has no lifespan of its own (%s)", type(error).__name__)
        else:
            _logger.error(
                "the application's lifespan has failed; it goes on without", exc_info=error
            )

    async def _speak_for_app(self) -> None:
        """Say what the application has left unsaid."""
        while self._heard != "lifespan.shutdown":
            if self._heard == "lifespan.startup" and not self._has_started:
                await self._say({"type": "lifespan.startup.complete"})
            await self._hear()
        self._last_word = {"type": "lifespan.shutdown.complete"}

    async def _hear(self) -> Message:
        message = await self._receive()
        self._heard = message["type"]
        if self._heard == "lifespan.shutdown" and self._history is not None:
            self._history.end()  # streams of events end now, or the server might wait for them
        return message

    async def _say(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self._has_started = True
                await self._send(message)
            case (
                "lifespan.startup.failed"
                | "lifespan.shutdown.complete"
                | "lifespan.shutdown.failed"
            ):
                self._last_word = message
            case other:
                raise RuntimeError(f"a lifespan is not answered by {other!r}")


def _checked(made: object) -> Supervisor:
    if not isinstance(made, Supervisor):
        raise TypeError(f"make must return a new Supervisor, got {made!r}")
    return made
