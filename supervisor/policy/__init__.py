"""TODO"""

from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import (
    CHECKS,
    FOR_CALLERS,
    OPTIONAL,
    Classifier,
    Errors,
    Policy,
    changed_policy,
    fields_of,
    shared_policy,
)

__all__ = [
    "CHECKS",
    "Classifier",
    "Errors",
    "FOR_CALLERS",
    "Failure",
    "OPTIONAL",
    "Outcome",
    "PLAIN_FAILURE",
    "Policy",
    "changed_policy",
    "fields_of",
    "shared_policy",
]
