"""The permit of one admitted call, and how the ways a call can end are told to its circuit."""

from __future__ import annotations

import warnings
from types import TracebackType

from supervisor.circuit import Circuit
from supervisor.errors import PermitSettledError
from supervisor.messages import Grant, Outcome


def report(circuit: Circuit, grant: Grant, error: BaseException | None) -> None:
    """Report how a call ended: an `Exception` is a failure, another `BaseException` nothing."""
    if error is None:
        circuit.succeed(grant)
    elif isinstance(error, Exception):
        circuit.fail(grant, error)
    else:
        circuit.settle(grant, Outcome.CANCELLED)


class Permit:
    """Permission for one call that is under way; settle it exactly once.

    Use it as a block, `with await breaker.acquire() as permit: ...`, which settles it by how
    the block ends unless that has been done before; or call one of its methods.
    """

    __slots__ = ("_circuit", "_grant")

    def __init__(self, circuit: Circuit, grant: Grant) -> None:
        self._circuit = circuit
        self._grant: Grant | None = grant

    @property
    def settled(self) -> bool:
        """Whether the outcome has been reported."""
        return self._grant is None

    def succeed(self) -> None:
        """Report a success.

        Raises:
            PermitSettledError: an outcome has been reported before.
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        self._circuit.succeed(self._settle())

    def fail(self, error: BaseException | None = None) -> None:
        """Report a failure, and what it was.

        Raises:
            PermitSettledError, RuntimeError: see `succeed`.
        """
        self._circuit.fail(self._settle(), error)

    def ignore(self) -> None:
        """Report that the call counts neither as a success nor as a failure.

        Raises:
            PermitSettledError, RuntimeError: see `succeed`.
        """
        self._circuit.settle(self._settle(), Outcome.IGNORED)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.settled:
            report(self._circuit, self._settle(), exc)

    def __repr__(self) -> str:
        return f"<Permit {self._circuit.name!r} {'settled' if self.settled else 'held'}>"

    def __del__(self) -> None:
        if not self.settled:
            warnings.warn(f"{self!r} was never settled", ResourceWarning, stacklevel=1, source=self)

    def _settle(self) -> Grant:
        self._circuit.check_thread()
        grant, self._grant = self._grant, None
        if grant is None:
            raise PermitSettledError(f"this permit of {self._circuit.name!r} is settled already")
        return grant
