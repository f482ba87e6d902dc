"""Interceptors for grpc.aio's channels: each call is guarded by its target's circuit.

On asyncio only.

    interceptors   one for each of the four kinds of call
    calls          what the calls count as, and how their items are read
"""

from supervisor.integrations.grpc.interceptors import (
    FAILURES,
    CircuitOpenError,
    by_target,
    circuit_interceptors,
)

__all__ = ["FAILURES", "CircuitOpenError", "by_target", "circuit_interceptors"]
