"""The permit of one admitted call, for who settles it by hand."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Any

from supervisor.circuit import (
    NO_RESULT,
    Circuit,
    OuterCall,
    Ticket,
    end_once,
    fail,
    report,
    settle_block,
    succeed,
)
from supervisor.errors import PermitSettledError, Uncopied
from supervisor.guard.stream import Complete, GuardedStream, check_opening, check_options
from supervisor.guard.verdict import Verdict
from supervisor.machine import NO_PROBE
from supervisor.policy import Outcome, Policy


class Permit(Uncopied):
    """Permission for one call that is under way; settle it exactly once.

    Use it as a block, `with await breaker.acquire() as permit: ...`, which settles it by how
    the block ends unless that has been done before; or call one of its methods.
    """

    no_copies = "a Permit is for one call"
    instead = "acquire another one"

    __slots__ = ("_began", "_block", "_circuit", "_ticket")

    def __init__(self, circuit: Circuit, ticket: Ticket) -> None:
        self._circuit = circuit
        self._ticket: Ticket | None = ticket
        self._began = circuit.started
        self._block: OuterCall | None = None

    @property
    def settled(self) -> bool:
        """Whether the outcome has been reported."""
        return self._ticket is None

    @property
    def policy(self) -> Policy:
        """The policy by which the outcome is judged; the circuit's if that has been reported."""
        circuit, ticket = self._circuit, self._ticket
        return circuit.latest_policy if ticket is None else circuit.grant_of(ticket).policy

    @property
    def is_probe(self) -> bool:
        """Whether a half-open circuit waits for the outcome."""
        ticket = self._ticket
        return ticket is not None and self._circuit.grant_of(ticket).probe > NO_PROBE

    def stream(
        self,
        func: Callable[..., object],
        /,
        *args: Any,
        verdict: Verdict = "end",
        complete: Complete | None = None,
        **kwargs: Any,
    ) -> GuardedStream[Any]:
        """Guard a stream by this permit, which it settles; see `CircuitBreaker.stream`.

        Entering it raises what `succeed` does.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or out of range.
        """
        check_opening("Permit.stream", func)
        check_options(verdict, complete)

        async def admitted() -> tuple[Circuit, Ticket]:
            ticket = self._held()
            self._ticket = None
            return self._circuit, ticket

        make = functools.partial(func, *args, **kwargs)
        return GuardedStream[Any](admitted, make, verdict, complete)

    def succeed(self) -> None:
        """Report a success.

        Raises:
            PermitSettledError: an outcome has been reported before.
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        succeed(self._circuit, self._settle(), NO_RESULT, self._began)

    def fail(self, error: BaseException | None = None) -> None:
        """Report a failure, and what it was: whatever the policy says of such an error, but for
        the kind of failure that it makes of it.

        Raises:
            PermitSettledError, RuntimeError: see `succeed`.
        """
        if isinstance(error, BaseException):
            end_once(self._circuit, self._settle(), error, self._began, self._block, surely=True)
        else:
            fail(self._circuit, self._settle())

    def ignore(self) -> None:
        """Report that the call counts neither as a success nor as a failure.

        Raises:
            PermitSettledError, RuntimeError: see `succeed`.
        """
        report(self._circuit, self._settle(), Outcome.IGNORED)

    def __enter__(self) -> Permit:
        ticket = self._ticket
        # The plainest one leaves no trace, as with the other ways into a guard.
        if ticket is not None and ticket is not self._circuit.grant and self._block is None:
            block = self._block = OuterCall(self._circuit)
            block.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        circuit, ticket, block = self._circuit, self._ticket, self._block
        if ticket is None:
            return
        if (
            exc is None
            and ticket is circuit.grant  # most blocks, as short as can be
            and block is None
            and circuit.loop.thread == get_ident()
        ):
            self._ticket = None
            circuit.unsent_successes += 1
            return
        settle_block(circuit, self._settle(), self._began, block, exc)

    def __repr__(self) -> str:
        return f"<Permit {self._circuit.name!r} {'settled' if self.settled else 'held'}>"

    def __del__(self) -> None:
        if self._ticket is not None:
            warnings.warn(f"{self!r} was never settled", ResourceWarning, stacklevel=1, source=self)

    def _settle(self) -> Ticket:
        circuit, ticket = self._circuit, self._held()
        self._ticket, circuit.ending = None, circuit.ending + 1
        return ticket

    def _held(self) -> Ticket:
        """Return by what the call is settled, which is no block any more."""
        self._circuit.check_thread()
        ticket = self._ticket
        if ticket is None:
            raise PermitSettledError(
                f"this permit of {self._circuit.name!r} is settled already; acquire another one"
                " for another call"
            )
        if self._block is not None:
            self._block.__exit__()
        return ticket
