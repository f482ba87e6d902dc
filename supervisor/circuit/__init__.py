"""TODO"""

from supervisor.circuit.actor import catch_up, run_actor
from supervisor.circuit.circuit import NO_RESULT, Circuit, Verdict
from supervisor.circuit.judging import report_error, report_result
from supervisor.circuit.statistics import Statistics
from supervisor.circuit.watch import Ticket

__all__ = [
    "Circuit",
    "NO_RESULT",
    "Statistics",
    "Ticket",
    "Verdict",
    "catch_up",
    "report_error",
    "report_result",
    "run_actor",
]
