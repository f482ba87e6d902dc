"""What circuits have counted, as instruments of OpenTelemetry; and what calls have met, on spans.

There are no semantic conventions for circuit breakers yet, only the discussion of them (issue 2355
of open-telemetry/semantic-conventions), which asks for their name and their state as attributes,
and for events. Both are called here as OpenTelemetry's own instrumentation of Failsafe does, in a
namespace `circuit_breaker`. The state is told as the conventions want a status metric: an
UpDownCounter that is 1 for one state, and 0 for each other one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Final, Literal, get_args
from weakref import WeakSet

from opentelemetry.metrics import (
    CallbackOptions,
    MeterProvider,
    Observation,
    get_meter_provider,
)
from opentelemetry.trace import get_current_span

from supervisor import CircuitState, Supervisor
from supervisor.arguments import shown
from supervisor.circuit import add_witness, remove_witness
from supervisor.instrumentation.sums import Labels, Links, Sums, Told
from supervisor.machine import Origin

SCOPE: Final = "supervisor"
"""The instrumentation scope of all instruments."""

NAME: Final = "circuit_breaker.name"
STATE: Final = "circuit_breaker.state"
PREVIOUS_STATE: Final = "circuit_breaker.previous_state"
REASON: Final = "circuit_breaker.reason"

_INSTRUMENTS: Final[dict[str, tuple[Literal["counter", "up_down_counter", "gauge"], str, str]]] = {
    "circuit_breaker.status": (
        "up_down_counter",
        "1",
        "1 for the state that the circuit is in, else 0.",
    ),
    "circuit_breaker.calls": ("counter", "{call}", "Admitted calls that have ended, by outcome."),
    "circuit_breaker.refusals": ("counter", "{call}", "Calls that were not admitted, by reason."),
    "circuit_breaker.would_have_refused": (
        "counter",
        "{call}",
        "Calls admitted only since the circuit is METRICS_ONLY.",
    ),
    "circuit_breaker.stale_outcomes": (
        "counter",
        "{call}",
        "Outcomes that came too late to count for a state.",
    ),
    "circuit_breaker.transitions": ("counter", "{transition}", "Changes of state."),
    "circuit_breaker.restarts": (
        "counter",
        "{restart}",
        "Restarts of the circuit's actor after a crash.",
    ),
    "circuit_breaker.active_calls": (
        "up_down_counter",
        "{call}",
        "Calls that run, or wait to be admitted.",
    ),
    "circuit_breaker.waiting_calls": (
        "up_down_counter",
        "{call}",
        "Calls that wait to be admitted.",
    ),
    "circuit_breaker.retry_after": (
        "gauge",
        "s",
        "Time until a refused call may be admitted; 0 unless open, none if forced open.",
    ),
    "circuit_breaker.window.calls": (
        "gauge",
        "{call}",
        "Latest calls that the circuit's window remembers.",
    ),
    "circuit_breaker.window.failure_ratio": ("gauge", "1", "Share of them that failed."),
    "circuit_breaker.window.slow_ratio": ("gauge", "1", "Share of them that were slow."),
    "circuit_breaker.state_origin": (
        "up_down_counter",
        "1",
        "1 for who has brought about the state of a shared circuit, else 0.",
    ),
    "circuit_breaker.fleet.linked": (
        "gauge",
        "1",
        "1 if the store that circuits are shared through is reached, else 0.",
    ),
    "circuit_breaker.fleet.joined": ("counter", "{time}", "Times that the store was reached."),
    "circuit_breaker.fleet.lost": ("counter", "{time}", "Times that the store was lost."),
}
"""Kind, unit and description, by name."""

_PROVIDERS: Final[WeakSet[MeterProvider]] = WeakSet()
"""Those that collect circuits. The SDK would drop callbacks of another time without a word."""


def observe_circuits(
    supervisor: Supervisor | None = None,
    *,
    limit: int = 200,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Let a meter provider collect what circuits have counted, from now on.

    All instruments of one collection tell of the same moment. They are read in the thread of who
    collects, without a question to an event loop.

    Args:
        supervisor: whose circuits are told; None: all circuits of the process.
        limit: circuits that have a name of their own, 1 or more: the first that are seen. All
            others are added up under the name "other". A circuit that is called so itself is told
            as "_other".
        meter_provider: None: the global one, also if it is set later.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
        ValueError: the meter provider collects circuits already.
    """
    readings = _Readings(Labels(supervisor, limit))
    provider = get_meter_provider() if meter_provider is None else meter_provider
    if not isinstance(provider, MeterProvider):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"meter_provider must be a MeterProvider, got {shown(provider)}")
    if provider in _PROVIDERS:
        raise ValueError(f"meter_provider collects circuits already: {provider!r}")
    _PROVIDERS.add(provider)
    meter = provider.get_meter(SCOPE)
    create = {
        "counter": meter.create_observable_counter,
        "up_down_counter": meter.create_observable_up_down_counter,
        "gauge": meter.create_observable_gauge,
    }
    for name, (kind, unit, text) in _INSTRUMENTS.items():
        create[kind](name, [partial(readings.take, name)], unit, text)


def mark_spans(on: bool = True) -> None:
    """Let each refusal, and each end of a call that opens a circuit, be an event on the caller's
    current span from now on, in the whole process; or no more.

    Nothing is done for a call that succeeds.
    """
    if on:
        add_witness(_SPANS)
    else:
        remove_witness(_SPANS)


class _Readings:
    """One reading of all figures after the other, each of which serves every instrument once.

    A collection asks one instrument after the other. Whichever is the first to have had its share
    of a reading has come to the next collection.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._left: dict[str, list[Observation]] = {}

    def take(self, instrument: str, _: CallbackOptions) -> Iterable[Observation]:
        share = self._left.pop(instrument, None)
        if share is None:
            left = _observations(self._labels.read())
            share = left.pop(instrument)
            self._left = left
        return share


class _Spans:
    """Puts an event on the span that is current where a call is made."""

    def refused(self, circuit: str, state: CircuitState, reason: str) -> None:
        span = get_current_span()
        if span.is_recording():
            attributes = {NAME: circuit, STATE: state.value, REASON: reason}
            span.add_event("circuit_breaker.refused", attributes)

    def opened(self, circuit: str, from_state: CircuitState) -> None:
        span = get_current_span()
        if span.is_recording():
            states = {STATE: CircuitState.OPEN.value, PREVIOUS_STATE: from_state.value}
            span.add_event("circuit_breaker.opened", {NAME: circuit, **states})


_SPANS: Final = _Spans()


class _Observations(dict[str, list[Observation]]):
    """By instrument, each of which is there, whether it has something to tell or not."""

    def __init__(self) -> None:
        super().__init__((name, []) for name in _INSTRUMENTS)

    def add(self, instrument: str, value: float, name: str, **attributes: str) -> None:
        further = {f"circuit_breaker.{key}": each for key, each in attributes.items()}
        self[f"circuit_breaker.{instrument}"].append(Observation(value, {NAME: name, **further}))


def _observations(told: Told) -> _Observations:
    observations = _Observations()
    if told.links is not None:
        _add_links(observations, told.links)
    for name, sums in told.labels.items():
        _add_counters(observations, name, sums)
        if sums.circuits:
            _add_present(observations, name, sums)
    return observations


def _add_links(observations: _Observations, links: Links) -> None:
    numbers = {name: value for name, value in links._asdict().items() if value is not None}
    for name, value in numbers.items():
        observations[f"circuit_breaker.fleet.{name}"].append(Observation(int(value)))


def _add_counters(observations: _Observations, name: str, sums: Sums) -> None:
    counts = sums.counts
    for outcome in ("succeeded", "failed", "ignored", "cancelled"):
        observations.add("calls", getattr(counts, outcome), name, outcome=outcome)
    for reason, times in sums.refusals.items():
        observations.add("refusals", times, name, reason=reason)
    for (before, after), times in sums.transitions.items():
        states = {"previous_state": before.value, "state": after.value}
        observations.add("transitions", times, name, **states)
    observations.add("would_have_refused", counts.would_have_refused, name)
    observations.add("stale_outcomes", counts.stale, name)
    observations.add("restarts", counts.restarts, name)


def _add_present(observations: _Observations, name: str, sums: Sums) -> None:
    circuits = sums.circuits
    states = {each.state for each in circuits}
    for state in CircuitState:
        observations.add("status", int(state in states), name, state=state.value)
    if origins := sums.origins:
        for origin in get_args(Origin):
            observations.add("state_origin", int(origin in origins), name, origin=origin)
    observations.add("active_calls", sum(each.in_flight for each in circuits), name)
    observations.add("waiting_calls", sum(each.waiting for each in circuits), name)
    retry_after = max(each.retry_after for each in circuits)
    if retry_after < math.inf:  # the SDK drops what is not finite, with a warning each time
        observations.add("retry_after", retry_after, name)
    if (window := sums.window) is not None:
        observations.add("window.calls", window.calls, name)
        if window.complete:  # or a failure would be all that there is
            observations.add("window.failure_ratio", window.failure_rate or 0.0, name)
            observations.add("window.slow_ratio", window.slow_call_rate or 0.0, name)
