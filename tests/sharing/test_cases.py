"""The table of cases, in the store in memory."""

from __future__ import annotations

import pytest

from supervisor.sharing import MemorySharing
from tests.sharing.cases import CASES, Case
from tests.sharing.stories import SetClock, look_on, play

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.story)
async def test_case(case: Case) -> None:
    clock = SetClock()
    await play(case, MemorySharing(quorum=case.quorum, clock=clock), clock)


async def test_who_looks_on() -> None:
    """Sees all that is held, and is no member."""
    clock = SetClock()
    store, of_two = (MemorySharing(quorum=quorum, clock=clock) for quorum in (1, 2))
    of_two._held = store._held
    await look_on(store, of_two, clock)
