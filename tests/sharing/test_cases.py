"""The table of cases, in the store in memory."""

from __future__ import annotations

import pytest

from supervisor.sharing import MemorySharing
from tests.sharing.cases import CASES, Case
from tests.sharing.stories import SetClock, play

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.story)
async def test_case(case: Case) -> None:
    clock = SetClock()
    await play(case, MemorySharing(quorum=case.quorum, clock=clock), clock)
