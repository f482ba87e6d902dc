"""TODO"""

from supervisor.supervision.supervisor import Supervisor, current_supervisor, supervisors_here

__all__ = ["Supervisor", "current_supervisor", "supervisors_here"]
