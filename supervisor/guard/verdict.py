"""What a stream counts as: one outcome, by the first thing that tells."""

from __future__ import annotations

from dataclasses import replace
from threading import get_ident
from typing import Literal

from supervisor.circuit import (
    NO_RESULT,
    Circuit,
    Observed,
    OuterCall,
    Pulse,
    Ticket,
    end_of_time,
    end_once,
    fail_later,
    report,
    succeed,
)
from supervisor.errors import IncompleteStreamError
from supervisor.guard.timeouts import CallLimit
from supervisor.policy import Outcome

Verdict = Literal["end", "first_item"]
"""What a stream succeeds by, if it is a probe. No others hold a place that somebody waits for."""


class StreamCall:
    """The call that a stream is, from its admission to its outcome.

    Attributes:
        circuit: what has admitted it.
        items: how many have come.
        over: whether nothing that happens to it counts any more.
    """

    __slots__ = ("_began", "_grant", "_pulse", "_ticket", "_verdict", "circuit", "items", "over")

    def __init__(self, circuit: Circuit, ticket: Ticket, verdict: Verdict) -> None:
        self.circuit = circuit
        self.items = 0
        self.over = False
        self._ticket: Ticket | None = ticket  # None: it has been settled
        self._began = circuit.started
        self._verdict = verdict
        self._grant = circuit.grant_of(ticket)
        self._pulse = Pulse.of(circuit, self._grant)

    @property
    def runs_here(self) -> bool:
        """Whether this is the thread in which its outcome may be reported."""
        return not self.circuit.running or self.circuit.loop.thread == get_ident()

    def limit(self) -> CallLimit | None:
        """Return the limit to the time of one wait, which begins now."""
        return CallLimit.by(self._grant.policy)

    def inside(self) -> OuterCall:
        """Return the call as those know it that the stream makes itself."""
        return OuterCall(self.circuit)

    def item_came(self) -> None:
        """Take note of an item."""
        self.items += 1
        if self._ticket is None:
            return
        if self.items == 1:
            if self._pulse is not None and self._verdict == "first_item":
                self.end()
                self.over = False  # it may fail later
                return
            self._stop_time(self._ticket)
        if self._pulse is not None:
            self._pulse.beat()

    def end(self) -> None:
        """Report that the stream has come to its end."""
        ticket = self._settle()
        if ticket is not None:
            succeed(self.circuit, ticket, NO_RESULT, self._began)

    def fail(self, error: BaseException, known: OuterCall) -> None:
        """Report that the stream has raised something."""
        before, ticket = self.over, self._settle()
        if ticket is not None:
            end_once(self.circuit, ticket, error, self._began, known)
        elif not before:
            fail_later(self.circuit, self._grant, error, self._began, known)

    def cut_short(self) -> IncompleteStreamError:
        """Return what is raised by a stream that has ended before it was complete."""
        return IncompleteStreamError(self.circuit.name, self.items)

    def leave(self) -> None:
        """Report that the reader wants no more: a success, if it has got anything."""
        if self.items:
            self.end()
        else:
            self.give_back(Outcome.CANCELLED)

    def give_back(self, outcome: Outcome) -> None:
        """Report that it counts neither as a success nor as a failure."""
        ticket = self._settle()
        if ticket is not None:
            report(self.circuit, ticket, outcome)

    def _stop_time(self, ticket: Ticket) -> None:
        """Let the time of the call count no longer, if it is known by number while it runs."""
        number = ticket.ticket if isinstance(ticket, Observed) else ticket
        stopped = end_of_time(self.circuit, number) if isinstance(number, int) else None
        if stopped is not None:
            grant, running = stopped
            self._ticket = replace(ticket, ticket=grant) if isinstance(ticket, Observed) else grant
            del running[number]  # type: ignore[arg-type]

    def _settle(self) -> Ticket | None:
        """Let nothing count from now on; return by what it has to be settled, if it has to be."""
        circuit, ticket = self.circuit, self._ticket
        circuit.check_thread()
        ended = ticket is not None
        self._ticket, self.over, circuit.ending = None, True, circuit.ending + ended
        return ticket
