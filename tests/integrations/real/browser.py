"""Chromium, as its user sees a page; and a server of circuits that a test has in its hands."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
import uvicorn
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.from_thread import start_blocking_portal
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

from supervisor import Supervisor
from supervisor.integrations.asgi import CircuitsApp, Reply, SupervisorMiddleware
from supervisor.sharing import Sharing

Seen = TypeVar("Seen")

PATIENCE: Final = 60.0
"""Seconds, on the slowest machine; nothing here waits for that long when all is well."""

SILENCE: Final = 0.8
"""Seconds: less than the page lets pass between two requests, which so take two connections."""

LEFT: Final = (anyio.EndOfStream, anyio.BrokenResourceError)

FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
    "--lang=en",
)


class Tab:
    """A page in a browser.

    Attributes:
        driver: what drives it.
    """

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str, *, dark: bool = False) -> None:
        """Open a page, in a dark or in a light room."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(url)

    def until(self, look: Callable[[], Seen]) -> Seen:
        """Wait until something is to be seen, and return it."""
        ends = time.monotonic() + PATIENCE
        while not (seen := look()):
            assert time.monotonic() < ends, f"not to be seen; the page has:\n{self.text}"
            time.sleep(0.05)
        return seen

    def says(self, text: str) -> None:
        """Wait until the page's sentence has that in it."""
        self.until(lambda: text in self.headline)

    @property
    def headline(self) -> str:
        return self.text_of("h1")

    @property
    def text(self) -> str:
        return self.text_of("body")

    def text_of(self, selector: str) -> str:
        """What is to be read there; also while the page is writing it."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.driver.execute_script(script, selector))

    def rows(self) -> dict[str, list[str]]:
        """What the table says of each circuit that is shown, from top to bottom."""
        script = """
            const rows = [...document.querySelectorAll("tr[data-state]")];
            const shown = rows.filter((row) => row.offsetHeight > 0);
            return shown.map((row) => [...row.cells].map((cell) => cell.innerText));
        """
        return {name: cells for name, *cells in self.driver.execute_script(script)}

    def button(self, name: str) -> WebElement:
        """The button of that name, as a screen reader tells it."""
        buttons = self.driver.find_elements("css selector", "td button")
        (found,) = (each for each in buttons if each.get_attribute("aria-label") == name)
        assert found.accessible_name == " ".join(name.split())
        return found

    @property
    def focused(self) -> str:
        """The name of what keys go to."""
        return self.driver.switch_to.active_element.accessible_name

    def complaints(self) -> list[str]:
        """What the browser has complained of since it was asked last, such as a policy that was
        violated; but not of servers, which may be gone.
        """
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["source"] != "network"]

    def axe(self) -> list[str]:
        """What axe finds that would keep somebody from using the page."""
        self.driver.execute_script(
            files("axe_playwright_python").joinpath("axe.min.js").read_text()
        )
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        assert len(found["passes"]) > 20
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found["violations"]]


@contextmanager
def browsing(folder: Path) -> Iterator[Tab]:
    """Start Chromium, where it is installed; `NEEDS_CHROMIUM` says that it has to be."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "needs chromium and chromedriver: apt-get install chromium chromium-driver"
        if os.environ.get("NEEDS_CHROMIUM"):
            pytest.fail(missing)
        pytest.skip(missing)
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        yield Tab(chrome)
    finally:
        chrome.quit()


@contextmanager
def balanced(*ports: int) -> Iterator[int]:
    """A port whose connections go by turns to those who listen, and last until no answer is due."""
    firsts = itertools.cycle(range(len(ports)))

    async def serve(connection: SocketStream) -> None:
        first = next(firsts)
        async with connection:  # it is closed, also if nobody listens
            for port in ports[first:] + ports[:first]:
                with suppress(OSError):  # it is gone
                    async with await anyio.connect_tcp("127.0.0.1", port) as server:
                        await pass_on(connection, server)
                    return

    async def listen(*, task_status: TaskStatus[int]) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            task_status.started(listener.extra(SocketAttribute.local_port))
            await listener.serve(serve)

    with start_blocking_portal() as portal:
        listening, port = portal.start_task(listen)
        try:
            yield port
        finally:
            listening.cancel()


async def pass_on(client: SocketStream, server: SocketStream) -> None:
    """Hand requests and answers over, until one of the two leaves or has nothing more to say."""
    is_due = False

    async def requests() -> None:
        nonlocal is_due
        with suppress(*LEFT):
            while True:
                said = await client.receive()
                is_due = True
                await server.send(said)
        tasks.cancel_scope.cancel()

    async def answers() -> None:
        nonlocal is_due
        with suppress(*LEFT):
            while True:
                with anyio.move_on_after(SILENCE) as silence:
                    said = await server.receive()
                    is_due = False
                    await client.send(said)
                if silence.cancelled_caught and not is_due:
                    break
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(requests)
        tasks.start_soon(answers)


class Site:
    """A server in a thread, whose circuits a test tells what to do.

    Attributes:
        url: where its circuits are shown.
        sharing: what it shares them through, if it does.
    """

    def __init__(
        self,
        port: int = 0,
        mount: str = "/circuits",
        sharing: Sharing | None = None,
        **options: Any,
    ) -> None:
        self.sharing = sharing
        self._circuits = CircuitsApp(**options)
        self._mount = mount
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{mount}"
        self.supervisor: Any = None
        self.token: Any = None
        config = uvicorn.Config(
            SupervisorMiddleware(self._serve, make=self._make),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def _make(self) -> Supervisor:
        self.supervisor = Supervisor(on_give_up="refuse", max_restarts=0, sharing=self.sharing)
        return self.supervisor

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.token = anyio.lowlevel.current_token()
            self._started.set()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif not scope["path"].startswith(self._mount):
            await Reply(200, {"content-type": "text/html"}, b"A page.")(scope, receive, send)
        else:
            await self._circuits({**scope, "root_path": self._mount}, receive, send)

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the server's event loop, plain or async."""

        async def run() -> Any:
            result = work(*args)
            return await result if hasattr(result, "__await__") else result

        return anyio.from_thread.run(run, token=self.token)

    def circuit(self, name: str, **policy: Any) -> Any:
        """Ask the server's supervisor for a circuit."""
        return self.do(lambda: self.supervisor.circuit(name, **policy))

    def __enter__(self) -> Site:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
