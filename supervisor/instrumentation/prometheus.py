"""What circuits have counted, for Prometheus: a collector for registries of `prometheus_client`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

from prometheus_client import Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, Sample
from prometheus_client.registry import Collector

from supervisor import CircuitState, Supervisor
from supervisor.arguments import check_choice
from supervisor.instrumentation.sums import Labels, Links, Sums, Told
from supervisor.machine import Origin

Names = Literal["circuit", "resilience4j"]

_SUMMED: Final = {
    "circuit_calls_in_flight",
    "circuit_calls_waiting",
    "circuit_window_calls",
    "resilience4j_circuitbreaker_buffered_calls",
}
"""Gauges whose value, for several processes, is the sum of theirs."""

_LINKED: Final = "circuit_fleet_linked"
"""The gauge whose value is the lowest of theirs; of others, it is the highest."""

_STATES: Final = [(state, state.value) for state in CircuitState]


class CircuitCollector(Collector):
    """Tells Prometheus what circuits have counted, whichever thread asks.

    `REGISTRY.register(CircuitCollector())` is all that it takes; each scrape then reads the figures
    anew, without a question to an event loop. Circuits of one name on several event loops are told
    as one. A second collector in a registry is refused by the registry, with a `ValueError`.

    Args:
        supervisor: whose circuits are told; None: all circuits of the process.
        names: how metrics and labels are called: `circuit_…`, or as resilience4j's are.
        limit: circuits that have a label of their own, 1 or more: the first that are seen. All
            others are added up under the label "other". A circuit that is called so itself gets the
            label "_other".

    Raises:
        TypeError, ValueError: `limit` or `names` is of the wrong type or out of range.
    """

    def __init__(
        self,
        supervisor: Supervisor | None = None,
        *,
        names: Names = "circuit",
        limit: int = 200,
    ) -> None:
        check_choice("names", names, ("circuit", "resilience4j"))
        self._labels = Labels(supervisor, limit)
        self._families = _own if names == "circuit" else _resilience4j

    def describe(self) -> Iterable[Metric]:
        """Return all metrics without values, so that a registry knows their names."""
        return self._families(Told({}, Links(None, 0, 0)))

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with the values of this moment."""
        return self._families(self._labels.read())


class CircuitWriter:
    """Writes what a collector tells to `prometheus_client`'s own metrics, for its multi-process
    mode, in which collectors are left out.

    The metrics are of the same names. Counters are added up over all workers, and so are numbers of
    calls; of other gauges, the highest of the living workers' is told. A summary cannot be written:
    it is the one of resilience4j's names that has the calls.

    Args:
        collector: what is written; one that is in no registry.
    """

    def __init__(self, collector: CircuitCollector) -> None:
        self._collector = collector
        self._metrics: dict[str, Counter | Gauge] = {}
        self._written: dict[tuple[str, tuple[str, ...]], float] = {}

    def write(self) -> None:
        """Write what has changed since the last time; in any thread, but in one at a time."""
        gone = set(self._written)
        for family in self._collector.collect():
            if family.type != "summary":
                for sample in family.samples:
                    series = family.name, tuple(sample.labels.values())
                    gone.discard(series)
                    if series not in self._written or self._written[series] != sample.value:
                        self._metric(family, sample)
                        self._set(series, sample.value)
        for series in gone:
            self._set(series, int(series[0] == _LINKED))  # nothing can be removed

    def _metric(self, family: Metric, sample: Sample) -> None:
        if family.name not in self._metrics:
            name, text, labels = family.name, family.documentation, tuple(sample.labels)
            self._metrics[name] = (
                Counter(name, text, labels, registry=None)
                if family.type == "counter"
                else Gauge(
                    name,
                    text,
                    labels,
                    registry=None,
                    multiprocess_mode=_mode_of(name),
                )
            )

    def _set(self, series: tuple[str, tuple[str, ...]], value: float) -> None:
        name, labels = series
        metric = self._metrics[name]
        child = metric.labels(*labels) if labels else metric
        if isinstance(child, Counter):
            child.inc(value - self._written.get(series, 0))
        else:
            child.set(value)
        self._written[series] = value


def _mode_of(gauge: str) -> Literal["livesum", "livemin", "livemax"]:
    if gauge in _SUMMED:
        return "livesum"
    return "livemin" if gauge == _LINKED else "livemax"


def _own(told: Told) -> list[Metric]:
    labels = told.labels
    return [
        _state("circuit_state", "circuit", labels),
        *_counters(labels),
        *_gauges(labels),
        *_windows(labels),
        *([] if told.links is None else _of_fleet(labels, told.links)),
    ]


def _state(name: str, label_name: str, labels: Mapping[str, Sums]) -> Metric:
    family = GaugeMetricFamily(
        name, "1 for the state that the circuit is in, else 0.", labels=(label_name, "state")
    )
    for label, sums in labels.items():
        if sums.circuits:
            states = {each.state for each in sums.circuits}
            for state, value in _STATES:
                family.add_metric((label, value), 1 if state in states else 0)
    return family


def _counters(labels: Mapping[str, Sums]) -> list[Metric]:
    calls = _counter("circuit_calls", "Admitted calls that have ended, by outcome.", "outcome")
    refusals = _counter("circuit_refusals", "Calls that were not admitted, by reason.", "reason")
    would = _counter(
        "circuit_would_have_refused", "Calls admitted only since the circuit is METRICS_ONLY."
    )
    stale = _counter("circuit_stale_outcomes", "Outcomes that came too late to count for a state.")
    transitions = _counter("circuit_transitions", "Changes of state.", "from", "to")
    restarts = _counter("circuit_restarts", "Restarts of the circuit's actor after a crash.")
    for label, sums in labels.items():
        counts = sums.counts
        calls.add_metric((label, "succeeded"), counts.succeeded)
        calls.add_metric((label, "failed"), counts.failed)
        calls.add_metric((label, "ignored"), counts.ignored)
        calls.add_metric((label, "cancelled"), counts.cancelled)
        for reason, times in sums.refusals.items():
            refusals.add_metric((label, reason), times)
        for (before, after), times in sums.transitions.items():
            transitions.add_metric((label, before.value, after.value), times)
        would.add_metric((label,), counts.would_have_refused)
        stale.add_metric((label,), counts.stale)
        restarts.add_metric((label,), counts.restarts)
    return [calls, refusals, would, stale, transitions, restarts]


def _gauges(labels: Mapping[str, Sums]) -> list[Metric]:
    in_flight = _gauge("circuit_calls_in_flight", "Calls that run, or wait to be admitted.")
    waiting = _gauge("circuit_calls_waiting", "Calls that wait to be admitted.")
    retry_after = _gauge(
        "circuit_retry_after_seconds",
        "Seconds until a refused call may be admitted; 0 unless open, +Inf if forced open.",
    )
    for label, sums in labels.items():
        circuits, of = sums.circuits, (label,)
        if circuits:
            in_flight.add_metric(of, sum(each.in_flight for each in circuits))
            waiting.add_metric(of, sum(each.waiting for each in circuits))
            retry_after.add_metric(of, max(each.retry_after for each in circuits))
    return [in_flight, waiting, retry_after]


def _windows(labels: Mapping[str, Sums]) -> list[Metric]:
    calls = _gauge("circuit_window_calls", "Latest calls that the circuit's window remembers.")
    failures = _gauge("circuit_window_failure_ratio", "Share of them that failed, 0 to 1.")
    slow = _gauge("circuit_window_slow_ratio", "Share of them that were slow, 0 to 1.")
    for label, sums in labels.items():
        if (window := sums.window) is not None:
            calls.add_metric((label,), window.calls)
            if window.complete:  # or a failure would be all that there is
                failures.add_metric((label,), window.failure_rate or 0.0)
                slow.add_metric((label,), window.slow_call_rate or 0.0)
    return [calls, failures, slow]


def _of_fleet(labels: Mapping[str, Sums], links: Links) -> list[Metric]:
    linked = GaugeMetricFamily(
        _LINKED, "1 if the store that circuits are shared through is reached, else 0."
    )
    if links.linked is not None:
        linked.add_metric((), int(links.linked))
    joined = CounterMetricFamily("circuit_fleet_joined", "Times that the store was reached.")
    joined.add_metric((), links.joined)
    lost = CounterMetricFamily("circuit_fleet_lost", "Times that the store was lost.")
    lost.add_metric((), links.lost)
    origin = GaugeMetricFamily(
        "circuit_state_origin",
        "1 for who has brought about the state of a shared circuit, else 0.",
        labels=("circuit", "origin"),
    )
    for label, sums in labels.items():
        if origins := sums.origins:
            for each in get_args(Origin):
                origin.add_metric((label, each), int(each in origins))
    return [linked, joined, lost, origin]


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("circuit",))


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=("circuit", *labels))


def _resilience4j(told: Told) -> list[Metric]:
    """Name all as resilience4j's `TaggedCircuitBreakerMetrics` does by way of Micrometer."""
    labels = told.labels
    prefix = "resilience4j_circuitbreaker"
    calls = Metric(f"{prefix}_calls_seconds", "Calls that have ended, by kind.", "summary")
    refused = CounterMetricFamily(
        f"{prefix}_not_permitted_calls", "Calls that were not admitted.", labels=("name", "kind")
    )
    buffered = GaugeMetricFamily(
        f"{prefix}_buffered_calls", "Latest calls in the window.", labels=("name", "kind")
    )
    failures = GaugeMetricFamily(
        f"{prefix}_failure_rate", "Percentage of them that failed; -1 if none.", labels=("name",)
    )
    slow = GaugeMetricFamily(
        f"{prefix}_slow_call_rate", "Percentage that was slow; -1 if none.", labels=("name",)
    )
    for label, sums in labels.items():
        counts = sums.counts
        kinds = (
            ("successful", counts.succeeded),
            ("failed", counts.failed),
            ("ignored", counts.ignored),
        )
        for kind, times in kinds:
            calls.add_sample(f"{calls.name}_count", {"name": label, "kind": kind}, times)
        refused.add_metric((label, "not_permitted"), counts.rejected)
        if (window := sums.window) is not None:
            buffered.add_metric((label, "failed"), window.failures)
            buffered.add_metric((label, "successful"), window.calls - window.failures)
            failures.add_metric((label,), _percentage(window.failure_rate))
            slow.add_metric((label,), _percentage(window.slow_call_rate))
    return [_state(f"{prefix}_state", "name", labels), calls, refused, buffered, failures, slow]


def _percentage(rate: float | None) -> float:
    return -1.0 if rate is None else 100 * rate
