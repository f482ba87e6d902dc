"""TODO"""

from supervisor.guard.breaker import CircuitBreaker, WaitingBreaker
from supervisor.guard.permit import Permit

__all__ = ["CircuitBreaker", "Permit", "WaitingBreaker"]
