"""The whole demo, but for a store that shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from supervisor import MemorySharing
from supervisor.__main__ import main
from supervisor.commands.demo.fleet import show
from supervisor.commands.demo.fleet.passes import FleetPass
from supervisor.commands.demo.passes import Remote
from supervisor.commands.demo.plan import Plan
from tests.commands.demo.fleet.diaries import measured
from tests.commands.demo.test_process import children_of


def test_a_whole_demo_asks_the_store_first(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the client, the server that was started is ended again."""
    monkeypatch.setitem(sys.modules, "coredis", None)
    monkeypatch.delitem(sys.modules, "supervisor.sharing.clients", raising=False)
    before = children_of(os.getpid())
    assert main(["demo", "--fleet", "2"]) == 2
    assert capsys.readouterr() == ("", "a fleet needs coredis: pip install coredis\n")
    assert children_of(os.getpid()) == before


def test_both_passes_are_shown(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each by itself first, then through the store that was started; nothing is left running."""
    stores: list[str | None] = []

    async def run_pass(plan: Plan, store: str | None, remote: Remote, watch: object) -> FleetPass:
        assert (plan.fleet, remote.url[:17]) == (2, "http://127.0.0.1:")
        stores.append(store)
        return measured(store is not None)

    monkeypatch.setattr(show, "run_pass", run_pass)
    monkeypatch.setattr(show, "sharing_by", lambda *_: MemorySharing())
    before = children_of(os.getpid())
    assert main(["demo", "--fleet", "2"]) == 0
    printed = capsys.readouterr()
    assert "20 agents in 2 processes" in printed.out
    assert printed.out.endswith(f"Picture: {Path('fleet-demo.svg').resolve()}\n")
    assert printed.err == ""
    assert Path("fleet-demo.svg").read_text(encoding="utf-8").startswith("<?xml")
    alone, shared = stores
    assert alone is None
    assert shared is not None
    assert shared.startswith("unix://")
    assert children_of(os.getpid()) == before
