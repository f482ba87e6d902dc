"""Draws docs/images/page.png, by `make page-picture`: five minutes of a service, on its page.

All in it happens: calls fail as they are told, and circuits do what they do.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio

from tests.docs.documents import DOCS
from tests.integrations.real.browser import Site, browsing
from tests.support.worlds import fail, succeed

SECONDS: Final = 300.0

CALLS: Final = {
    "payments": 6.0,
    "search": 9.0,
    "llm:chat": 4.0,
    "mail": 2.0,
    "catalogue": 14.0,
    "inventory": 7.0,
    "users": 21.0,
    "geocoding": 1.0,
}
"""How many there are of each circuit's, in a second."""

FAILING: Final = {
    "payments": [(285.0, SECONDS, 1.0)],
    "search": [(60.0, 130.0, 1.0)],
    "llm:chat": [(150.0, 215.0, 0.7)],
    "mail": [(25.0, 40.0, 1.0)],
    "users": [(0.0, SECONDS, 0.01)],
}
"""From when until when they fail, and how probable that is."""


async def work(supervisor: Any, seconds: float) -> None:
    """Call by all circuits; one of them is out of service for a while."""
    began = anyio.current_time()
    for name in CALLS:
        timeout = 5.0 if name == "llm:chat" else 30.0
        supervisor.circuit(name, failure_threshold=5, recovery_timeout=timeout)

    async def call(name: str) -> None:
        luck = random.Random(name)
        while True:
            await anyio.sleep(luck.expovariate(CALLS[name]))
            now = anyio.current_time() - began
            faults = (share for a, b, share in FAILING.get(name, []) if a <= now < b)
            function = fail if luck.random() < next(faults, 0.0) else succeed
            with suppress(Exception):
                await supervisor[name].call(function)

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for name in CALLS:
                tasks.start_soon(call, name)
            await anyio.sleep(190.0)
            supervisor["inventory"].force_open()
            await anyio.sleep(50.0)
            supervisor["inventory"].release()


def main() -> None:
    """Let it happen, and draw it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Site(authorize=lambda _: True) as site,
        browsing(Path(folder)) as tab,
    ):
        tab.open(site.url)
        tab.driver.set_window_size(1400, 1180)
        site.do(lambda: work(site.supervisor, SECONDS))
        time.sleep(1)
        tab.driver.save_screenshot(str(DOCS / "images" / "page.png"))


if __name__ == "__main__":
    main()
