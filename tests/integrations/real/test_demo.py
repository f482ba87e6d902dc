"""The demo by a real client and its guard: real time, a real server process."""

from __future__ import annotations

import pytest

from tests.commands.demo.test_demo import run_demo


@pytest.mark.parametrize("client", ["httpx", "httpx2", "aiohttp"])
def test_a_demo_by_a_client(client: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its figures add up, and circuits spare the server."""
    run_demo(capsys, "asyncio", client)
