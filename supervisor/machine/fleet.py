"""What a shared circuit and its fleet tell each other: frozen records, all of them.

The fleet is all that share the circuit: see `supervisor.sharing`. What it says is imperative, and
its times are by the circuit's own clock. What the circuit says is in the past tense. An *epoch* is
the place of a change among all changes of the fleet; later ones are greater.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from supervisor.machine.states import CircuitState, Origin

Epoch = tuple[int, int]

NEVER: Final[Epoch] = (0, 0)
"""Before every change."""

NEWS: Final = 0
"""What news answers: nothing. Else an answer has the number of what it answers."""

Verdict = Literal["succeeded", "failed", "given back"]
"""How a probe has ended, as far as the fleet is concerned."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """The circuit stands so with the fleet.

    Attributes:
        epoch: of the change that has brought it there.
        until: when it may be probed.
        failed_recoveries: in a row.
        failure: what has opened it, if that is shared.
        origin: whether this circuit here was the one that has changed it.
        answers: see `NEWS`.
        rejoined: whether this is how things stand after news were missed. CLOSED, of an epoch that
            is not later than the circuit's, then says that the fleet knows of nothing else.
        lost: whether the fleet has lost what came later.
    """

    state: CircuitState
    epoch: Epoch
    until: float
    failed_recoveries: int
    failure: str | None
    at: float
    origin: Origin = "fleet"
    answers: int = NEWS
    rejoined: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Take:
    """Run one probe, which counts up to `until`; or the same again, for longer.

    Attributes:
        token: by which the fleet knows it.
        epoch: of the half-open period that it is for.
    """

    token: str
    epoch: Epoch
    until: float
    at: float
    answers: int = NEWS


@dataclass(frozen=True, slots=True)
class Wait:
    """All places for probes are taken up to `until`, if none is given back before."""

    until: float
    at: float
    answers: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A place for a probe has become free."""

    at: float


@dataclass(frozen=True, slots=True)
class Decide:
    """The fleet has no opinion on what was asked; or, as news, it cannot be reached."""

    at: float
    answers: int = NEWS


FromFleet = Adopt | Take | Wait | AskAgain | Decide


@dataclass(frozen=True, slots=True)
class Opened:
    """The circuit has opened by itself.

    Attributes:
        view: the epoch up to which it knows of the fleet.
        hinted: whether the dependency itself has asked for the time.
    """

    view: Epoch
    until: float
    failed_recoveries: int
    hinted: bool
    failure: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody wants to run a probe: `needed` successes close the circuit, `at_once` may run."""

    number: int
    view: Epoch
    needed: int
    at_once: int
    failed_recoveries: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe has ended, or is not wanted any more.

    Attributes:
        number: 0, if nobody waits for an answer.
        token, epoch: those that it was given.
        seconds: how long the circuit is open from now on, if it has failed.
    """

    number: int
    token: str
    epoch: Epoch
    verdict: Verdict
    needed: int
    seconds: float
    failed_recoveries: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Forced:
    """Its state has been set by hand for all; CLOSED releases it.

    Attributes:
        view: the epoch up to which it knows of the fleet.
    """

    number: int
    view: Epoch
    state: CircuitState


@dataclass(frozen=True, slots=True)
class Failed:
    """Calls have failed, which has not opened the circuit; told where all count them together.

    Attributes:
        view: the epoch up to which it knows of the fleet.
        failures: how many, by their weight.
        seconds: how long the circuit would be open for the last one.
    """

    view: Epoch
    failures: int
    seconds: float
    failure: str | None


ToFleet = Opened | Asked | Probed | Forced | Failed
