"""Circuits by name, on whatever event loop asks for them.

May know the settings, and the supervisors of event loops; not that anything is tried again.

    functions  those that existing code imports: get, guard, reset, and forget by name
    by_name    the breaker of a name, or of a function, created by the settings if need be
"""

from supervisor.registry.by_name import BreakerByName, BreakerOfFunction
from supervisor.registry.functions import (
    clear_circuit_breaker_registry,
    forget_kept_circuits,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    reset_all_circuit_breakers,
    with_circuit_breaker,
)

__all__ = [
    "BreakerByName",
    "BreakerOfFunction",
    "clear_circuit_breaker_registry",
    "forget_kept_circuits",
    "get_circuit_breaker",
    "get_circuit_breaker_sync",
    "reset_all_circuit_breakers",
    "with_circuit_breaker",
]
