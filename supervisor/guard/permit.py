"""The permit of one admitted call, for who settles it by hand."""

from __future__ import annotations

import warnings
from types import TracebackType

from supervisor.circuit import NO_RESULT, Circuit, Ticket, fail, settle, settle_block, succeed
from supervisor.errors import PermitSettledError
from supervisor.policy import Outcome


class Permit:
    """Permission for one call that is under way; settle it exactly once.

    Use it as a block, `with await breaker.acquire() as permit: ...`, which settles it by how
    the block ends unless that has been done before; or call one of its methods.
    """

    __slots__ = ("_circuit", "_ticket")

    def __init__(self, circuit: Circuit, ticket: Ticket) -> None:
        self._circuit = circuit
        self._ticket: Ticket | None = ticket

    @property
    def settled(self) -> bool:
        """Whether the outcome has been reported."""
        return self._ticket is None

    def succeed(self) -> None:
        """Report a success.

        Raises:
            PermitSettledError: an outcome has been reported before.
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        succeed(self._circuit, self._settle(), NO_RESULT)

    def fail(self, error: BaseException | None = None) -> None:
        """Report a failure, and what it was: whatever the policy says of such an error, but for
        the kind of failure that it makes of it.

        Raises:
            PermitSettledError, RuntimeError: see `succeed`.
        """
        fail(self._circuit, self._settle(), error, surely=True)

    def ignore(self) -> None:
        """Report that the call counts neither as a success nor as a failure.

        Raises:
            PermitSettledError, RuntimeError: see `succeed`.
        """
        settle(self._circuit, self._settle(), Outcome.IGNORED)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.settled:
            settle_block(self._circuit, self._settle(), exc)

    def __repr__(self) -> str:
        return f"<Permit {self._circuit.name!r} {'settled' if self.settled else 'held'}>"

    def __del__(self) -> None:
        if not self.settled:
            warnings.warn(f"{self!r} was never settled", ResourceWarning, stacklevel=1, source=self)

    def _settle(self) -> Ticket:
        self._circuit.check_thread()
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            raise PermitSettledError(f"this permit of {self._circuit.name!r} is settled already")
        return ticket
