"""What a circuit is told, as one frozen record, and how a call can end by it.

May know nothing but how arguments are checked: neither machines nor settings.

    policy     the fields of a policy, each defined once; rules, what they need of each other
    kinds      what values they may have
    giving     how users give a policy; keywords, its fields for type checkers
    explained  what `help(Policy)` says of them
    outcomes   how a call can end, and what kinds of failure there are
    functions  those that users give, refused if they cannot be called as they will be
    asking     which errors are meant by types or functions that users give; marked, functions that
               are given a call's arguments as well
"""

from supervisor.policy import explained as explained
from supervisor.policy.asking import (
    ask,
    held_by,
    inside_out,
    is_group_meant,
    is_meant,
    parts_of,
    plain_answer,
    unseen,
    within,
)
from supervisor.policy.functions import check_function, check_takes
from supervisor.policy.giving import DEFAULT, check_given, check_policy_type, given_policy
from supervisor.policy.keywords import FurtherFields, PolicyFields
from supervisor.policy.kinds import (
    Classifier,
    Count,
    CountFromZero,
    Errors,
    Factor,
    Failures,
    Few,
    Flag,
    InitialState,
    JudgeOfBoth,
    JudgeOfResults,
    JudgeOfTime,
    Requests,
    Schedule,
    Seconds,
    Share,
    ShareFromZero,
    SomeErrors,
    State,
    TimeLimit,
    WindowCalls,
    WindowSeconds,
    check_flag,
)
from supervisor.policy.marked import Arguments, judging_by, takes_arguments, with_arguments
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Judgement, Outcome, hinted
from supervisor.policy.policy import (
    FOR_CALLERS,
    KINDS,
    OPTIONAL,
    TYPES,
    Policy,
    fields_of,
)
from supervisor.policy.rules import WINDOWS

__all__ = [
    "DEFAULT",
    "FOR_CALLERS",
    "KINDS",
    "OPTIONAL",
    "PLAIN_FAILURE",
    "TYPES",
    "WINDOWS",
    "Arguments",
    "Classifier",
    "Count",
    "CountFromZero",
    "Errors",
    "Factor",
    "Failure",
    "Failures",
    "Few",
    "Flag",
    "FurtherFields",
    "InitialState",
    "JudgeOfBoth",
    "JudgeOfResults",
    "JudgeOfTime",
    "Judgement",
    "Outcome",
    "Policy",
    "PolicyFields",
    "Requests",
    "Schedule",
    "Seconds",
    "Share",
    "ShareFromZero",
    "SomeErrors",
    "State",
    "TimeLimit",
    "WindowCalls",
    "WindowSeconds",
    "ask",
    "check_flag",
    "check_function",
    "check_given",
    "check_policy_type",
    "check_takes",
    "fields_of",
    "given_policy",
    "held_by",
    "hinted",
    "inside_out",
    "is_group_meant",
    "is_meant",
    "judging_by",
    "parts_of",
    "plain_answer",
    "takes_arguments",
    "unseen",
    "with_arguments",
    "within",
]
