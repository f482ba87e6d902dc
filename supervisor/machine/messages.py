"""What goes into a circuit's machine and what comes out of it: frozen records, all of them.

Commands are imperative, what has happened is in the past tense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from supervisor.machine.fleet import FromFleet, ToFleet
from supervisor.machine.states import CircuitState, Origin
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy

NO_PROBE: Final = 0
"""The `probe` of a grant that needs no permit of its own, since the circuit is closed."""

UNCOUNTED: Final = -1
"""The `probe` of a grant whose call would have been refused, and counts for nothing."""

ANY_PERIOD: Final = 1 << 62
"""The `period` of a probe's stream that has failed after its verdict: it counts in whatever period
it is told in. Later than all others.
"""

WaitFor = Literal["closed", "verdict"]
"""How long a caller waits to be admitted: until it is, or until the next verdict of probes."""

Reason = Literal[
    "open", "half_open", "forced_open", "ramp", "throttled", "retry_budget", "restarting"
]
"""Why a call is refused."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask to be admitted; `permit` is the asker's number, unique in its circuit.

    Attributes:
        draw: a random number from 0 up to 1, by which a share of calls is admitted.
        retry: whether the call is another attempt, which takes from the retry budget.
        wait_until: when an asker who is ready to wait gives up.
        wait_for: what such an asker waits for.
        deadline: when such an asker is cancelled at the latest: it does not wait for what cannot
            come before.
    """

    permit: int
    at: float
    draw: float = 0.0
    retry: bool = False
    wait_until: float | None = None
    wait_for: WaitFor = "closed"
    deadline: float = math.inf


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask for one more attempt of a call that has been admitted: for the retry budget alone."""

    permit: int
    at: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The asker of `permit` was cancelled, and will not use it.

    Attributes:
        refused: whether it was refused without a question to the machine, and is counted so.
    """

    permit: int
    at: float | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """Report the outcome of an admitted call, or the same outcome of several in a row.

    `at` may be left out where the outcome cannot move the circuit to another state, since
    reading the clock costs more than all the rest of such a report, and where no event loop
    runs.

    Attributes:
        period, probe, retry: those of the grant; or `ANY_PERIOD`.
        failure: the error, as text.
        of_kind: what kind of failure it is.
        slow: whether it took `slow_call_duration` or longer.
        call: its number, if it has been reported as overdue before; else 0.
        times: how many calls ended so.
    """

    period: int
    probe: int
    outcome: Outcome
    at: float | None = None
    failure: str | None = None
    times: int = 1
    of_kind: Failure = PLAIN_FAILURE
    slow: bool = False
    retry: bool = False
    call: int = 0


@dataclass(frozen=True, slots=True)
class Overdue:
    """Report that an admitted call has run for `after` seconds at the time `at`, and is slow.

    Attributes:
        failed: whether it counts as a failure for that.
    """

    period: int
    call: int
    at: float
    after: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """Report that the probe of `permit` is alive: it has given a part of its answer."""

    permit: int
    period: int
    at: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Close the circuit and forget its failures; in a state set by hand, only forget them."""

    at: float | None = None


@dataclass(frozen=True, slots=True)
class Force:
    """Enter a state by hand and stay in it; CLOSED releases the circuit from such a state, and
    HALF_OPEN lets it probe at once.

    Attributes:
        everywhere: whether the fleet shall do so, too; only of a shared circuit.
        hold: who keeps it in FORCED_OPEN, or does so no more, by number; 0: nobody in particular,
            whose CLOSED releases it from everybody.
        seconds: for how long, if it is FORCED_OPEN; it is HALF_OPEN then.
    """

    state: CircuitState
    at: float | None = None
    everywhere: bool = False
    hold: int = 0
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Go on by another policy, with state and counts as they are; `seed` is that of its jitter."""

    policy: Policy
    at: float | None = None
    seed: int = 0


Message = (
    Acquire | Retry | Withdraw | Settle | Overdue | Renew | Reset | Force | Reconfigure | FromFleet
)


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for one probe, or for any number of calls while a CLOSED period lasts.

    `policy` is that by which the call is judged, whatever the circuit goes by when it ends.
    """

    period: int
    policy: Policy
    probe: int = NO_PROBE
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that must not run, and the seconds after which it may be worth another try."""

    state: CircuitState
    retry_after: float
    last_failure: str | None
    reason: Reason = "open"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, as it happened; in METRICS_ONLY, one that would have happened."""

    from_state: CircuitState
    to_state: CircuitState
    at: float
    period: int
    failure_count: int
    retry_after: float
    last_failure: str | None
    metrics_only: bool = False
    origin: Origin = "here"


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The policy has been replaced."""

    policy: Policy
    at: float


Change = Transition | Reconfigured
"""What has changed, for whoever looks on."""

Told = Change | ToFleet
"""What a machine tells."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What the machine answers in advance, until something adverse is reported.

    Adverse is a failure, a slow call, and with `any_outcome` every outcome that counts.

    Attributes:
        grant: permission for every call, void when `slack` is 0.
        slack: adverse outcomes, in whatever order, after which the circuit could be open.
        refuse_until: the time up to which every call is refused.
        any_outcome: whether a success is adverse, too.
        expires: the time up to which `slack` is right.
    """

    state: CircuitState
    period: int
    grant: Grant
    slack: int
    refuse_until: float
    last_failure: str | None
    any_outcome: bool = False
    expires: float = math.inf
