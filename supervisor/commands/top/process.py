"""A process that is watched: what it has said last, or why it says nothing."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from supervisor.commands.top.plan import Plan
from supervisor.commands.top.reading import Fleet, Reading, Row, rows_of
from supervisor.commands.top.source import Source, UnreadError


class Process:
    """One process, read again and again.

    Attributes:
        name: its address.
        rows: its circuits at the latest reading; none if that has failed.
        problem: why that has failed; empty if it has not.
        fleet: how it stands with those that it shares circuits with; None if it shares none.
        had_link: whether it was linked to them at the reading before.
        has_begun_anew: whether it is another start, or another process, than at the reading before.
    """

    def __init__(self, source: Source, plan: Plan) -> None:
        self._source = source
        self._pattern = plan.pattern
        self._reading: Reading | None = None
        self.name = source.name
        self.rows: Sequence[Row] = ()
        self.problem = "no answer yet"
        self.fleet: Fleet | None = None
        self.had_link = True
        self.has_begun_anew = False

    async def read(self) -> None:
        """Ask it, and keep what it says."""
        before = self._reading
        self.had_link = self.fleet is None or self.fleet.linked
        try:
            reading = await self._source.read()
        except UnreadError as error:
            self.rows, self.problem = (), str(error)
            return
        label = f"{reading.process}@{self._source.place}"
        self.rows = rows_of(label, before, reading, anyio.current_time(), self._pattern)
        self.problem, self._reading, self.fleet = "", reading, reading.fleet
        self.has_begun_anew = before is not None and before.run != reading.run
