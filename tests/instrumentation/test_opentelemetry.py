"""OpenTelemetry: every instrument, all of one moment; and events on the spans of those who call."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, NoOpMeter, NoOpMeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from supervisor import CircuitBreakerOpenError, CircuitStoppedError, Supervisor
from supervisor.circuit import add_witness, remove_witness
from supervisor.instrumentation import opentelemetry, sums
from supervisor.instrumentation.opentelemetry import mark_spans, observe_circuits
from tests.sharing.fleets import fleet, heard
from tests.support.instructions import instructions_of
from tests.support.observed import busy, counted_anew, refused
from tests.support.worlds import fail, fail_times, succeed

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    with counted_anew():
        yield
    mark_spans(False)


# Metrics


class Reader:
    """Collects what circuits have counted, as an exporter does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader], shutdown_on_exit=False)
        observe_circuits(*args, meter_provider=self._provider, **options)

    def read(self) -> dict[str, dict[Any, float]]:
        """By instrument, and by the values of the attributes in their order by name; by the only
        value if there is one.
        """
        data = self._reader.get_metrics_data()
        return {} if data is None else values_in(data)

    @property
    def kinds(self) -> dict[str, tuple[str, str]]:
        """The unit of each instrument, and whether it is a sum, and one that may go down."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            each.name.removeprefix("circuit_breaker."): (each.unit, kind_of(each.data))
            for each in metrics_in(data)
        }


def metrics_in(data: MetricsData) -> list[Any]:
    (of_resource,) = data.resource_metrics
    (of_scope,) = of_resource.scope_metrics
    assert of_scope.scope.name == "supervisor"
    return list(of_scope.metrics)


def kind_of(points: Any) -> str:
    if not hasattr(points, "is_monotonic"):
        return "gauge"
    return "counter" if points.is_monotonic else "up_down_counter"


def values_in(data: MetricsData) -> dict[str, dict[Any, float]]:
    found: dict[str, dict[Any, float]] = {}
    for metric in metrics_in(data):
        of_metric = found.setdefault(metric.name.removeprefix("circuit_breaker."), {})
        for point in metric.data.data_points:
            labels = tuple(value for _, value in sorted(point.attributes.items()))
            of_metric[labels[0] if len(labels) == 1 else labels] = point.value
    return found


def status(circuit: str, *there: str) -> dict[tuple[str, str], int]:
    """The points of a circuit that is in these states."""
    states = ("closed", "open", "half_open", "forced_open", "forced_closed", "disabled")
    return {(circuit, each): int(each in there) for each in (*states, "metrics_only")}


async def test_every_instrument() -> None:
    """By name, unit, kind and attributes."""
    reader = Reader()
    async with Supervisor() as supervisor:
        await busy(supervisor)
        permit = await supervisor["web"].acquire()
        assert reader.read() == {
            "status": {**status("llm", "open"), **status("web", "closed")},
            "calls": {
                ("llm", "succeeded"): 2,
                ("llm", "failed"): 2,
                ("llm", "ignored"): 1,
                ("llm", "cancelled"): 1,
                ("web", "succeeded"): 3,
                ("web", "failed"): 1,
                ("web", "ignored"): 0,
                ("web", "cancelled"): 0,
            },
            "refusals": {("llm", "open"): 3},
            "would_have_refused": {"llm": 0, "web": 0},
            "stale_outcomes": {"llm": 1, "web": 0},
            "transitions": {("llm", "closed", "open"): 1},
            "restarts": {"llm": 0, "web": 0},
            "active_calls": {"llm": 0, "web": 1},
            "waiting_calls": {"llm": 0, "web": 0},
            "retry_after": {"llm": 4, "web": 0},
            "window.calls": {"web": 4},
            "window.failure_ratio": {"web": 0.25},
            "window.slow_ratio": {"web": 0.25},
        }
        assert reader.kinds == {
            "status": ("1", "up_down_counter"),
            "calls": ("{call}", "counter"),
            "refusals": ("{call}", "counter"),
            "would_have_refused": ("{call}", "counter"),
            "stale_outcomes": ("{call}", "counter"),
            "transitions": ("{transition}", "counter"),
            "restarts": ("{restart}", "counter"),
            "active_calls": ("{call}", "up_down_counter"),
            "waiting_calls": ("{call}", "up_down_counter"),
            "retry_after": ("s", "gauge"),
            "window.calls": ("{call}", "gauge"),
            "window.failure_ratio": ("1", "gauge"),
            "window.slow_ratio": ("1", "gauge"),
        }
        permit.succeed()


async def test_a_window_without_successes_has_no_ratio() -> None:
    """It remembers failures alone, which would be all of its calls."""
    reader = Reader()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", window_seconds=60, failure_threshold=5)
        (await breaker.acquire()).succeed()
        (await breaker.acquire()).fail()
        supervisor.events()  # so that all has been counted
        told = reader.read()
        assert told["window.calls"] == {"x": 1}
        assert "window.failure_ratio" not in told
        assert "window.slow_ratio" not in told


async def test_circuits_that_are_shared() -> None:
    """Whether their store is reached, and who has brought about the state of each."""
    reader = Reader()
    async with fleet(2) as (store, _supervisors, (_, there)):
        await fail_times(there, 1)
        await heard()
        told = reader.read()
        assert told["fleet.linked"] == {(): 1}
        assert told["fleet.joined"] == {(): 2}
        assert told["fleet.lost"] == {(): 0}
        assert told["state_origin"] == {("x", "here"): 1, ("x", "fleet"): 1, ("x", "by hand"): 0}
        store.cut()
        await heard()
        told = reader.read()
        assert (told["fleet.linked"], told["fleet.lost"]) == ({(): 0}, {(): 2})
        kinds = reader.kinds
        assert kinds["fleet.linked"] == ("1", "gauge")
        assert kinds["fleet.joined"] == kinds["fleet.lost"] == ("{time}", "counter")
        assert kinds["state_origin"] == ("1", "up_down_counter")
    told = reader.read()
    assert not {"fleet.linked", "state_origin"} & set(told)
    assert told["fleet.lost"] == {(): 2}


async def test_what_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    """A circuit that has ended leaves its counters; an infinite time is not told at all, since the
    SDK would warn of it each time.
    """
    reader = Reader()
    async with Supervisor() as supervisor:
        for name in ("ends", "forced"):
            await supervisor.circuit(name).call(succeed)
        supervisor["forced"].force_open()
        await anyio.sleep(1)
        assert reader.read()["retry_after"] == {"ends": 0}
        supervisor.stop("ends")
        await anyio.sleep(1)
        told = reader.read()
    assert told["status"] == status("forced", "forced_open")
    assert told["calls"]["ends", "succeeded"] == 1
    assert set(told["active_calls"]) == {"forced"}
    assert caplog.records == []


async def test_one_supervisor_and_few_names() -> None:
    """Only its circuits are told, and no more names than may be."""
    async with Supervisor() as one, Supervisor() as two:
        reader = Reader(one, limit=2)
        for name in ("a", "b", "c", "d"):
            await one.circuit(name).call(succeed)
        await two.circuit("e").call(succeed)
        assert reader.read()["restarts"] == {"a": 0, "b": 0, "other": 0}
        assert reader.read()["calls"]["other", "succeeded"] == 2


async def test_no_attributes_are_folded() -> None:
    """With the limit as it is, the SDK, which tells 2,000 apart, tells all."""
    reader = Reader()
    async with Supervisor() as supervisor:
        for number in range(300):
            await supervisor.circuit(f"tenant:{number}").call(succeed)
        told = reader.read()
    assert len(told["status"]) == 201 * 7
    assert sum(told["calls"].values()) == 300


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"supervisor": "x"}, "supervisor must be a Supervisor, got 'x'"),
        ({"meter_provider": 5}, "meter_provider must be a MeterProvider, got 5"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_bad_arguments(arguments: dict[str, Any], complaint: str) -> None:
    """They are named, and nothing is observed."""
    with pytest.raises((TypeError, ValueError), match=f"^{complaint}$"):
        observe_circuits(**arguments)


async def test_a_second_time_for_a_provider() -> None:
    """It is refused, since the SDK would not call what is added then; another one takes it."""
    provider = MeterProvider(shutdown_on_exit=False)
    observe_circuits(meter_provider=provider)
    with pytest.raises(ValueError, match="meter_provider collects circuits already: <opentelem"):
        observe_circuits(meter_provider=provider)
    observe_circuits(meter_provider=MeterProvider(shutdown_on_exit=False))


async def test_the_global_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that is taken if none is given."""
    callbacks = Callbacks()
    monkeypatch.setattr(opentelemetry, "get_meter_provider", lambda: callbacks)
    observe_circuits()
    assert callbacks.total("calls") == 0


Callback = Callable[[CallbackOptions], list[Observation]]


class Callbacks(NoOpMeterProvider):
    """A provider that collects when, and what, it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, Callback] = {}

    def get_meter(self, *_: Any, **__: Any) -> NoOpMeter:
        meter = NoOpMeter("")

        def create(name: str, callbacks: list[Callback], unit: str, text: str) -> None:
            assert name not in self.of
            assert unit
            assert text
            (self.of[name.removeprefix("circuit_breaker.")],) = callbacks

        for kind in ("counter", "up_down_counter", "gauge"):
            setattr(meter, f"create_observable_{kind}", create)
        return meter

    def total(self, name: str) -> float:
        """Collect one instrument, whose values are added up."""
        return sum(each.value for each in self.of[name](CallbackOptions()))


async def test_all_of_a_collection_is_of_one_moment() -> None:
    """Whatever happens between one instrument and the next; also if the last one was cut short."""
    callbacks = Callbacks()
    observe_circuits(meter_provider=callbacks)
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        await breaker.call(succeed)
        assert callbacks.total("refusals") == 0
        await fail_times(breaker, 1)
        await refused(breaker, 2)
        assert (callbacks.total("calls"), callbacks.total("transitions")) == (1, 0)
        assert (callbacks.total("refusals"), callbacks.total("calls")) == (2, 2)
        for name in callbacks.of:
            callbacks.total(name)
        await refused(breaker, 2)
        assert {name: callbacks.total(name) for name in callbacks.of}["refusals"] == 4


async def test_a_reading_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of it is never told; the next one tells all."""
    reader = Reader()
    async with Supervisor() as supervisor:
        await supervisor.circuit("x").call(succeed)

        def broken() -> None:
            raise ValueError("out of order")

        with monkeypatch.context() as patch:
            patch.setattr(sums, "all_figures", broken)
            assert reader.read() == {}
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        assert reader.read()["calls"]["x", "succeeded"] == 1


class Hanging(MetricExporter):
    """Never comes back, or raises."""

    def __init__(self, raises: bool) -> None:
        super().__init__()
        self.began = threading.Event()
        self.let_go = threading.Event()
        self._raises = raises

    def export(self, *_: Any, **__: Any) -> MetricExportResult:
        self.began.set()
        if self._raises:
            raise ConnectionError("the collector is down")
        self.let_go.wait()
        return MetricExportResult.FAILURE

    def force_flush(self, *_: Any, **__: Any) -> bool:
        return True

    def shutdown(self, *_: Any, **__: Any) -> None:
        self.let_go.set()


@pytest.mark.parametrize("raises", [False, True])
async def test_an_exporter_that_hangs_or_raises(raises: bool) -> None:
    """Calls go on; nothing of them is lost."""
    exporter = Hanging(raises)
    periodic = PeriodicExportingMetricReader(exporter, export_interval_millis=1)
    reader = InMemoryMetricReader()
    provider = MeterProvider([periodic, reader], shutdown_on_exit=False)
    observe_circuits(meter_provider=provider)
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        assert exporter.began.wait(60)
        for _ in range(100):
            await breaker.call(succeed)
        await fail_times(breaker, 1)
        await refused(breaker, 3)
        data = reader.get_metrics_data()
        assert data is not None
        told = values_in(data)
    assert (told["calls"]["x", "succeeded"], told["refusals"]["x", "open"]) == (100, 3)
    exporter.let_go.set()
    provider.shutdown()


# Spans


class Traces:
    """Spans, and what is found on them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.span = self.provider.get_tracer("tests").start_as_current_span

    @property
    def events(self) -> dict[str, list[tuple[str, ...]]]:
        """By span: what each event is called, and the values of its attributes, in their order."""
        return {
            span.name: [
                (event.name.removeprefix("circuit_breaker."), *map(str, event.attributes.values()))
                for event in span.events
                if event.attributes is not None and event.name != "exception"
            ]
            for span in self._exporter.get_finished_spans()
        }


@pytest.fixture
async def traces() -> AsyncIterator[Traces]:
    mark_spans()
    traces = Traces()
    yield traces
    traces.provider.shutdown()


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    async with Supervisor() as supervisor:
        yield supervisor


OPENED = ("opened", "x", "open", "closed")
REFUSED = ("refused", "x", "open", "open")


async def test_the_call_that_opens_and_those_that_are_refused(
    supervisor: Supervisor, traces: Traces
) -> None:
    """Each on its own span; a call that fails or succeeds besides has nothing on it."""
    breaker = supervisor.circuit("x", failure_threshold=2, recovery_timeout=10)
    with traces.span("fine"):
        await breaker.call(succeed)
    for name in ("first", "second"):
        with traces.span(name):
            await fail_times(breaker, 1)
    with traces.span("third"):
        await refused(breaker, 2)
    await anyio.sleep(10)
    with traces.span("probe"):
        await fail_times(breaker, 1)
    assert traces.events == {
        "fine": [],
        "first": [],
        "second": [OPENED],
        "third": [REFUSED, REFUSED],
        "probe": [("opened", "x", "open", "half_open")],
    }


async def test_every_way_to_call(supervisor: Supervisor, traces: Traces) -> None:
    """Blocks, decorated functions, permits, streams and results that are failures."""
    policy: dict[str, Any] = {"failure_threshold": 1, "recovery_timeout": 10}

    async def items() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("cut")

    block = supervisor.circuit("block", **policy)
    with traces.span("block"):
        for _ in range(2):
            with pytest.raises((ConnectionError, CircuitBreakerOpenError)):
                async with block:
                    await fail()
    decorated = supervisor.circuit("decorated", **policy)(fail)
    with traces.span("decorated"):
        for _ in range(2):
            with pytest.raises((ConnectionError, CircuitBreakerOpenError)):
                await decorated()
    permit = await supervisor.circuit("permit", **policy).acquire()
    with traces.span("permit"):
        permit.fail()
        with pytest.raises(CircuitBreakerOpenError):
            await supervisor["permit"].acquire()
    stream = supervisor.circuit("stream", **policy)
    with traces.span("stream"):
        for _ in range(2):
            with pytest.raises((ConnectionError, CircuitBreakerOpenError)):
                async with stream.stream(items) as chunks:
                    async for _ in chunks:
                        pass
    result = supervisor.circuit("result", failure_on_result=lambda _: True, **policy)
    with traces.span("result"):
        await result.call(succeed)
        await refused(result)
    assert traces.events == {
        name: [("opened", name, "open", "closed"), ("refused", name, "open", "open")]
        for name in ("block", "decorated", "permit", "stream", "result")
    }


async def test_each_caller_has_a_span_of_its_own(supervisor: Supervisor, traces: Traces) -> None:
    """Also when many call at once."""
    breaker = supervisor.circuit("x", failure_threshold=3)

    async def call(name: str) -> None:
        with traces.span(name):
            with pytest.raises(ConnectionError):
                async with breaker:
                    await anyio.sleep(1)
                    await fail()
            await anyio.sleep(1)
            await refused(breaker)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(call, str(number))
    opened = [name for name, events in traces.events.items() if OPENED in events]
    assert len(opened) == 1
    assert sum(REFUSED in events for events in traces.events.values()) == 5


async def test_by_a_window(supervisor: Supervisor, traces: Traces) -> None:
    """The call by which its rate is reached, which may be a success."""
    breaker = supervisor.circuit("x", window_calls=4, minimum_calls=4, failure_rate=0.5)
    for number, work in enumerate((fail, fail, succeed, succeed)):
        with traces.span(str(number)):
            with suppress(ConnectionError):
                await breaker.call(work)
    assert traces.events == {"0": [], "1": [], "2": [], "3": [OPENED]}


async def test_other_refusals(supervisor: Supervisor, traces: Traces) -> None:
    """Each has its reason, also those that the actor answers, and those of a circuit that ended."""
    breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10)
    await fail_times(breaker, 1)
    await anyio.sleep(10)
    probe = await breaker.acquire()
    with traces.span("half-open"):
        await refused(breaker)
        await refused(breaker)
    probe.succeed()
    breaker.force_open()
    await anyio.sleep(1)
    with traces.span("forced"):
        await refused(breaker)
    supervisor.stop("x")
    await anyio.sleep(1)
    with traces.span("stopped"):
        with pytest.raises(CircuitStoppedError):
            await breaker.call(succeed)
    assert traces.events == {
        "half-open": [("refused", "x", "half_open", "half_open")] * 2,
        "forced": [("refused", "x", "forced_open", "forced_open")],
        "stopped": [("refused", "x", "forced_open", "stopped")],
    }


async def test_what_only_measures_opens_nothing(supervisor: Supervisor, traces: Traces) -> None:
    breaker = supervisor.circuit("x", failure_threshold=1)
    breaker.only_measure()
    with traces.span("measured"):
        await fail_times(breaker, 2)
    assert traces.events == {"measured": []}


async def test_from_a_worker_thread(supervisor: Supervisor, traces: Traces) -> None:
    """A refusal is found on the span of the thread."""
    breaker = supervisor.circuit("x", failure_threshold=1)
    await fail_times(breaker, 1)

    def work() -> None:
        with traces.span("thread"), pytest.raises(CircuitBreakerOpenError):
            breaker.call_from_thread(int)

    await anyio.to_thread.run_sync(work)
    assert traces.events == {"thread": [REFUSED]}


async def test_no_span_and_no_more(supervisor: Supervisor, traces: Traces) -> None:
    """Where nothing is recorded nothing is done; and after `mark_spans(False)`."""
    breaker = supervisor.circuit("x", failure_threshold=1)
    mark_spans()  # once more does nothing more
    await fail_times(breaker, 1)
    await refused(breaker)
    with traces.span("one"):
        await refused(breaker)
    mark_spans(False)
    mark_spans(False)
    with traces.span("none"):
        await refused(breaker)
    assert traces.events == {"one": [REFUSED], "none": []}


async def test_a_span_that_raises(supervisor: Supervisor, traces: Traces) -> None:
    """It changes nothing for the call."""

    class Broken(trace.NonRecordingSpan):
        def is_recording(self) -> bool:
            raise RuntimeError("out of order")

    breaker = supervisor.circuit("x", failure_threshold=1)
    with trace.use_span(Broken(trace.INVALID_SPAN_CONTEXT)):
        await fail_times(breaker, 1)
        await refused(breaker, 2)
    figures = breaker.statistics()
    assert (figures.failed, figures.rejected, figures.in_flight) == (1, 2, 0)


@pytest.mark.parametrize("window", [{}, {"window_calls": 100}, {"slow_call_duration": 1.0}])
async def test_a_success_pays_nothing(
    window: dict[str, Any], supervisor: Supervisor, traces: Traces
) -> None:
    """Not one instruction, whether spans are marked or not."""
    breaker = supervisor.circuit("x", **window)
    for _ in range(3):
        await breaker.call(succeed)
    with traces.span("fine"):
        marked = instructions_of(breaker.call(succeed))
        mark_spans(False)
        unmarked = instructions_of(breaker.call(succeed))
    assert marked == unmarked > 20


async def test_a_witness_that_is_added_twice(supervisor: Supervisor) -> None:
    """It is told once."""

    class Told:
        def __init__(self) -> None:
            self.times = 0

        def refused(self, *_: object) -> None:
            self.times += 1

        opened = refused

    told = Told()
    for _ in range(2):
        add_witness(told)
    breaker = supervisor.circuit("x", failure_threshold=1)
    await fail_times(breaker, 1)
    await refused(breaker)
    for _ in range(2):
        remove_witness(told)
    await refused(breaker)
    assert told.times == 2
