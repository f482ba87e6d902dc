"""Prometheus: every metric by both sets of names, in every place where a scrape may run."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from urllib.request import urlopen

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest, make_asgi_app, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from supervisor import MemorySharing, Supervisor
from supervisor.instrumentation import sums
from supervisor.instrumentation.prometheus import CircuitCollector
from supervisor.supervision import figures
from supervisor.testing import Backend, run_in_virtual_time
from tests.sharing.fleets import FaultyStore, fleet, heard
from tests.support.observed import busy, counted_anew, in_thread, refused
from tests.support.worlds import BACKENDS, fail_times, succeed

pytestmark = pytest.mark.anyio

STATES = (
    "closed",
    "open",
    "half_open",
    "forced_open",
    "forced_closed",
    "disabled",
    "metrics_only",
)


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    with counted_anew():
        yield


def registry_of(*args: Any, **options: Any) -> CollectorRegistry:
    """A registry with one collector."""
    registry = CollectorRegistry()
    registry.register(CircuitCollector(*args, **options))
    return registry


def values_in(text: str) -> dict[str, dict[Any, float]]:
    """What a scrape says: by name, and by the values of the labels in their order by name; by the
    only value if there is one.
    """
    found: dict[str, dict[Any, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            key = labels[0] if len(labels) == 1 else labels
            of_name = found.setdefault(sample.name, {})
            assert key not in of_name, "a series is told twice"
            of_name[key] = sample.value
    return found


def scraped(registry: CollectorRegistry) -> dict[str, dict[Any, float]]:
    """The same, for what a registry has."""
    return values_in(generate_latest(registry).decode())


def state(circuit: str, *there: str) -> dict[tuple[str, str], float]:
    """The series of a circuit that is in these states."""
    return {(circuit, each): float(each in there) for each in STATES}


async def test_every_metric() -> None:
    """By its own name and labels; the names end as Prometheus wants it."""
    async with Supervisor() as supervisor:
        await busy(supervisor)
        permit = await supervisor["web"].acquire()
        told = scraped(registry_of())
        assert told == {
            "circuit_state": {**state("llm", "open"), **state("web", "closed")},
            "circuit_calls_total": {
                ("llm", "succeeded"): 2,
                ("llm", "failed"): 2,
                ("llm", "ignored"): 1,
                ("llm", "cancelled"): 1,
                ("web", "succeeded"): 3,
                ("web", "failed"): 1,
                ("web", "ignored"): 0,
                ("web", "cancelled"): 0,
            },
            "circuit_refusals_total": {("llm", "open"): 3},
            "circuit_would_have_refused_total": {"llm": 0, "web": 0},
            "circuit_stale_outcomes_total": {"llm": 1, "web": 0},
            "circuit_transitions_total": {("llm", "closed", "open"): 1},
            "circuit_restarts_total": {"llm": 0, "web": 0},
            "circuit_calls_in_flight": {"llm": 0, "web": 1},
            "circuit_calls_waiting": {"llm": 0, "web": 0},
            "circuit_retry_after_seconds": {"llm": 4, "web": 0},
            "circuit_window_calls": {"web": 4},
            "circuit_window_failure_ratio": {"web": 0.25},
            "circuit_window_slow_ratio": {"web": 0.25},
        }
        permit.succeed()


async def test_every_metric_of_resilience4j() -> None:
    """By names and labels of its Micrometer binder, rates in percent."""
    async with Supervisor() as supervisor:
        await busy(supervisor)
        registry = registry_of(names="resilience4j")
        prefix = "resilience4j_circuitbreaker"
        assert scraped(registry) == {
            f"{prefix}_state": {**state("llm", "open"), **state("web", "closed")},
            f"{prefix}_calls_seconds_count": {
                ("successful", "llm"): 2,
                ("failed", "llm"): 2,
                ("ignored", "llm"): 1,
                ("successful", "web"): 3,
                ("failed", "web"): 1,
                ("ignored", "web"): 0,
            },
            f"{prefix}_not_permitted_calls_total": {
                ("not_permitted", "llm"): 3,
                ("not_permitted", "web"): 0,
            },
            f"{prefix}_buffered_calls": {("failed", "web"): 1, ("successful", "web"): 3},
            f"{prefix}_failure_rate": {"web": 25},
            f"{prefix}_slow_call_rate": {"web": 25},
        }
        (line,) = generate_latest(registry.restricted_registry([f"{prefix}_failure_rate"])).split(
            b"\n"
        )[2:3]
        assert line == b'resilience4j_circuitbreaker_failure_rate{name="web"} 25.0'


async def test_states_by_hand_and_an_empty_window() -> None:
    """Infinity is +Inf, and no share is made of nothing."""
    async with Supervisor() as supervisor:
        one = supervisor.circuit("one", window_calls=5)
        two = supervisor.circuit("two", failure_threshold=1)
        one.force_open()
        two.only_measure()
        await fail_times(two, 2)
        await anyio.sleep(1)
        told = scraped(registry_of())
        assert told["circuit_state"] == {
            **state("one", "forced_open"),
            **state("two", "metrics_only"),
        }
        assert told["circuit_retry_after_seconds"]["one"] == math.inf
        assert told["circuit_would_have_refused_total"] == {"one": 0, "two": 1}
        assert told["circuit_window_calls"] == {"one": 0}
        assert told["circuit_window_failure_ratio"] == {"one": 0}
        told = scraped(registry_of(names="resilience4j"))
        assert told["resilience4j_circuitbreaker_failure_rate"] == {"one": -1}


def origins(circuit: str, *there: str) -> dict[tuple[str, str], float]:
    """The series of a shared circuit whose state was brought about by these."""
    return {(circuit, each): float(each in there) for each in ("here", "fleet", "by hand")}


async def test_circuits_that_are_shared() -> None:
    """Whether their store is reached, and who has brought about the state of each."""
    registry = registry_of()
    async with Supervisor() as alone:
        await alone.circuit("local").call(succeed)
        assert not [line for line in generate_latest(registry).splitlines() if b"fleet" in line]
    async with fleet(2, FaultyStore(local=("local",))) as (store, (first, _), (here, there)):
        first.circuit("local").force_open()
        first.circuit("by hand").force_open()
        await fail_times(there, 1)
        await heard()
        told = scraped(registry)
        assert told["circuit_fleet_linked"] == {(): 1}
        assert told["circuit_fleet_joined_total"] == {(): 2}
        assert told["circuit_fleet_lost_total"] == {(): 0}
        assert told["circuit_state_origin"] == {
            **origins("x", "here", "fleet"),
            **origins("by hand", "by hand"),
        }
        assert here.statistics().origin == "fleet"
        store.cut()
        await heard()
        told = scraped(registry)
        assert told["circuit_fleet_linked"] == {(): 0}
        assert told["circuit_fleet_lost_total"] == {(): 2}
        store.mend()
        await anyio.sleep(5)
        told = scraped(registry)
        assert told["circuit_fleet_linked"] == {(): 1}
        assert told["circuit_fleet_joined_total"] == {(): 4}
    told = scraped(registry)
    assert "circuit_fleet_linked" not in told
    assert "circuit_state_origin" not in told
    assert told["circuit_fleet_joined_total"] == {(): 4}


async def test_one_lost_link_is_a_lost_link() -> None:
    """Of several event loops, or supervisors, of a process."""
    registry = registry_of()
    lost = FaultyStore()
    lost.cut()
    async with fleet(1), Supervisor(sharing=lost):
        await anyio.sleep(1)
        told = scraped(registry)
        assert told["circuit_fleet_linked"] == {(): 0}
        assert told["circuit_fleet_joined_total"] == {(): 1}
        assert told["circuit_fleet_lost_total"] == {(): 1}


async def test_a_supervisor_that_has_ended_has_lost_no_link() -> None:
    """Its collector tells what it has counted, and no more."""
    async with Supervisor(sharing=MemorySharing()) as supervisor:
        registry = registry_of(supervisor)
        assert scraped(registry)["circuit_fleet_linked"] == {(): 1}
    assert "circuit_fleet_linked" not in scraped(registry)
    assert scraped(registry)["circuit_fleet_joined_total"] == {(): 1}


@pytest.mark.parametrize("names", ["circuit", "resilience4j"])
async def test_the_strict_format_takes_it_too(names: str) -> None:
    """OpenMetrics, which Prometheus asks for first, with a name that has to be quoted."""
    async with Supervisor() as supervisor:
        await busy(supervisor)
        await supervisor.circuit('a "b" \\ ü').call(succeed)
        text = openmetrics.generate_latest(registry_of(names=names)).decode()
        families = {
            each.name: each for each in openmetrics_parser.text_string_to_metric_families(text)
        }
        assert families
        label = "circuit" if names == "circuit" else "name"
        found = {sample.labels[label] for each in families.values() for sample in each.samples}
        assert found == {"llm", "web", 'a "b" \\ ü'}


async def test_a_server_in_its_own_thread() -> None:
    """The event loop is blocked all the while, so it is not asked."""
    registry = registry_of()
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    with ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)

        def get() -> str:
            with urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as response:
                text: bytes = response.read()
                return text.decode()

        async with Supervisor() as supervisor:
            await busy(supervisor)
            assert values_in(in_thread(get)) == scraped(registry)


async def answer_of(app: Callable[..., Awaitable[None]]) -> bytes:
    """What an ASGI application answers to a GET."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    body: bytes = sent[1]["body"]
    return body


async def test_an_asgi_application() -> None:
    """In the thread of the event loop."""
    registry = registry_of()
    async with Supervisor() as supervisor:
        await busy(supervisor)
        body = await answer_of(make_asgi_app(registry))
        assert values_in(body.decode()) == scraped(registry)


async def test_a_second_one_in_a_registry() -> None:
    """It would tell each metric twice, and is refused; with other names it is not."""
    registry = registry_of()
    with pytest.raises(ValueError, match=r"Duplicated timeseries .*circuit_state"):
        registry.register(CircuitCollector())
    registry.register(CircuitCollector(names="resilience4j"))
    assert scraped(registry) == {}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"limit": 0}, ValueError, "limit must be at least 1, got 0"),
        ({"limit": "9"}, TypeError, "limit must be a whole number, got '9'"),
        ({"names": "polly"}, ValueError, "names must be one of circuit, resilience4j; got 'polly'"),
    ],
)
def test_wrong_arguments(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        CircuitCollector(**options)


# Labels


async def test_the_number_of_labels_is_bounded() -> None:
    """The first get one, the others share one, and each keeps its own when circuits end."""
    async with Supervisor() as supervisor:
        registry = registry_of(limit=2)
        for name in ("a", "b", "c", "d"):
            await supervisor.circuit(name, failure_threshold=1).call(succeed)
        await fail_times(supervisor["d"], 1)
        await anyio.sleep(1)
        told = scraped(registry)
        assert told["circuit_calls_total"] == {
            **calls("a", 1),
            **calls("b", 1),
            **calls("other", 2, 1),
        }
        assert told["circuit_state"] == {
            **state("a", "closed"),
            **state("b", "closed"),
            **state("other", "closed", "open"),
        }
        supervisor.stop("a")
        supervisor.stop("d")
        await anyio.sleep(1)
        told = scraped(registry)
        assert told["circuit_state"] == {**state("b", "closed"), **state("other", "closed")}
        await supervisor.circuit("e").call(succeed)
        await supervisor.circuit("a").call(succeed)
        assert scraped(registry)["circuit_calls_total"] == {
            **calls("a", 2),
            **calls("b", 1),
            **calls("other", 3, 1),
        }


def calls(circuit: str, succeeded: int, failed: int = 0) -> dict[tuple[str, str], float]:
    """The series of what a circuit's calls came to."""
    return {
        (circuit, "succeeded"): succeeded,
        (circuit, "failed"): failed,
        (circuit, "ignored"): 0,
        (circuit, "cancelled"): 0,
    }


async def test_a_circuit_that_is_called_like_the_others() -> None:
    """Its label tells it from them, and from one that is called like that label."""
    async with Supervisor() as supervisor:
        for name in ("other", "_other", "another", "x"):
            await supervisor.circuit(name).call(succeed)
        told = scraped(registry_of(limit=3))
        assert set(told["circuit_restarts_total"]) == {"_other", "__other", "another", "other"}


async def test_names_beyond_those_that_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no label of their own, since they would be counted under "other" as well once they
    have ended.
    """
    monkeypatch.setattr(figures, "NAMES", 1)
    async with Supervisor() as supervisor:
        registry = registry_of()
        for name in ("a", "b"):
            await supervisor.circuit(name).call(succeed)
        first = scraped(registry)["circuit_calls_total"]
        supervisor.stop("b")
        assert first == {**calls("a", 1), **calls("other", 1)}
        assert scraped(registry)["circuit_calls_total"] == first


async def test_one_supervisor() -> None:
    """Only its circuits are told, also after it has ended."""
    async with Supervisor() as one, Supervisor() as two:
        await one.circuit("a").call(succeed)
        await two.circuit("b").call(succeed)
        registry = registry_of(one)
        assert set(scraped(registry)["circuit_state"]) == set(state("a"))
    told = scraped(registry)
    assert told["circuit_calls_total"] == calls("a", 1)
    assert "circuit_state" not in told


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_event_loops(backend: Backend) -> None:
    """Circuits of one name are one: counters and windows are added up, each of their states is 1,
    and the longest time until a recovery is told.
    """
    registry = registry_of()
    told: list[dict[str, dict[Any, float]]] = []

    async def inner() -> None:
        async with Supervisor() as supervisor:
            x = supervisor.circuit("x", window_calls=4, recovery_timeout=10.0)
            await x.call(succeed)
            told.append(scraped(registry))

    async def outer() -> None:
        async with Supervisor() as supervisor:
            x = supervisor.circuit("x", window_calls=4, recovery_timeout=10.0, failure_threshold=3)
            await fail_times(x, 3)
            await anyio.sleep(1)
            in_thread(lambda: run_in_virtual_time(inner, backend=backend))
            told.append(scraped(registry))

    run_in_virtual_time(outer, backend=backend)
    both, one = told
    assert both["circuit_state"] == state("x", "open", "closed")
    assert both["circuit_calls_total"] == one["circuit_calls_total"] == calls("x", 1, 3)
    assert both["circuit_retry_after_seconds"] == {"x": 9}
    assert one["circuit_state"] == state("x", "open")
    assert scraped(registry)["circuit_calls_total"] == calls("x", 1, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_counter_goes_down(backend: Backend) -> None:
    """Also not between event loops, when nobody has the figures of a circuit that is kept."""
    registry = registry_of()
    told: list[dict[str, dict[Any, float]]] = []

    async def task() -> None:
        async with Supervisor(keep="process") as supervisor:
            x = supervisor.circuit("x", failure_threshold=1)
            if not told:
                await x.call(succeed)
                await fail_times(x, 1)
            await refused(x, 2)
            told.append(scraped(registry))

    for _ in range(2):
        run_in_virtual_time(task, backend=backend)
        told.append(scraped(registry))
    refusals = [each["circuit_refusals_total"] for each in told]
    assert refusals == [{("x", "open"): 2}] * 2 + [{("x", "open"): 4}] * 2
    assert all(each["circuit_calls_total"] == calls("x", 1, 1) for each in told)
    assert ["circuit_state" in each for each in told] == [True, False, True, False]


async def test_several_scrapes_at_once() -> None:
    """While circuits come and go: none raises, no counter goes down, and the bound holds."""
    registry = registry_of(limit=5)
    done = threading.Event()
    faults: list[str] = []

    def scrape() -> None:
        before: dict[Any, float] = {}
        while not done.is_set():
            told = scraped(registry).get("circuit_calls_total", {})
            if len({circuit for circuit, _ in told}) > 6:
                faults.append("too many labels")
            if any(told.get(series, -1) < value for series, value in before.items()):
                faults.append("a counter has gone down")
            before = told

    def all_scrape() -> None:
        with ThreadPoolExecutor(3) as pool:
            for each in [pool.submit(scrape) for _ in range(3)]:
                each.result()

    scrapes = threading.Thread(target=all_scrape)
    scrapes.start()
    try:
        async with Supervisor(max_circuits=8) as supervisor:
            for number in range(100):
                await supervisor.circuit(f"tenant:{number % 20}").call(succeed)
    finally:
        done.set()
        scrapes.join()
    assert faults == []
    told = scraped(registry)["circuit_calls_total"]
    assert sum(told.values()) == 100


async def test_a_forked_process_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been told in its parent is not its own."""
    registry = registry_of()
    async with Supervisor() as supervisor:
        await supervisor.circuit("x").call(succeed)
        assert scraped(registry)["circuit_calls_total"] == calls("x", 1)
    figures._after_fork()
    monkeypatch.setattr(sums, "getpid", lambda: -1)
    assert scraped(registry) == {}


async def test_a_window_without_successes_has_no_ratio() -> None:
    """It remembers failures alone, which would be all of its calls; resilience4j says -1 then."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", window_seconds=60, failure_threshold=5)
        (await breaker.acquire()).succeed()
        (await breaker.acquire()).fail()
        supervisor.events()  # so that all has been counted
        told = scraped(registry_of())
        assert told["circuit_window_calls"] == {"x": 1}
        assert not told.get("circuit_window_failure_ratio")
        told = scraped(registry_of(names="resilience4j"))
        assert told["resilience4j_circuitbreaker_failure_rate"] == {"x": -1}


# Several processes

WORKER = """
import sys
import anyio
from supervisor import MemorySharing, Supervisor
from supervisor.instrumentation.prometheus import CircuitCollector, CircuitWriter

async def work(names, failures):
    writer = CircuitWriter(CircuitCollector(names=names))
    async with Supervisor(sharing=MemorySharing()):
        writer.write()
    async with Supervisor() as supervisor:
        writer.write()
        llm = supervisor.circuit("llm", failure_threshold=2, window_calls=10)
        gone = supervisor.circuit("gone")
        (await gone.acquire()).succeed()
        for _ in range(failures):
            (await llm.acquire()).fail()
            llm.statistics()
            writer.write()
        permit, held = await gone.acquire(), await supervisor.circuit("held").acquire()
        writer.write()
        permit.succeed()
        await anyio.sleep(0.01)
        supervisor.stop("gone")
        writer.write()
        writer.write()
        print(flush=True)
        sys.stdin.read()  # so that both of them live
        held.succeed()

anyio.run(work, sys.argv[1], int(sys.argv[2]))
"""


def told_by_workers(directory: Path, names: str) -> dict[str, dict[Any, float]]:
    """What two workers write whose circuits have seen one and two failures; read by a third."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with ExitStack() as stack:
        for failures in ("1", "2"):
            worker = Popen(
                [sys.executable, "-c", WORKER, names, failures],
                env=environment,
                stdin=PIPE,
                stdout=PIPE,
                text=True,
            )
            stack.enter_context(worker)
            assert worker.stdout is not None
            assert worker.stdout.readline() == "\n"
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(directory))
        return scraped(registry)


def test_workers_write_their_values(tmp_path: Path) -> None:
    """Whoever is scraped tells the sums of all, and the state of each, by the same names."""
    told = told_by_workers(tmp_path, "circuit")
    assert told["circuit_calls_total"] == {
        **calls("llm", 0, 3),
        **calls("gone", 4),
        **calls("held", 0),
    }
    assert told["circuit_state"] == {
        **state("llm", "closed", "open"),
        **state("gone"),
        **state("held", "closed"),
    }
    assert told["circuit_transitions_total"] == {("llm", "closed", "open"): 1}
    assert told["circuit_window_failure_ratio"] == {"llm": 1}
    assert told["circuit_calls_in_flight"] == {"llm": 0, "gone": 0, "held": 2}
    assert 0 < told["circuit_retry_after_seconds"]["llm"] <= 30
    assert told["circuit_fleet_joined_total"] == {(): 2}
    assert told["circuit_fleet_linked"] == {(): 1}  # nobody is left whose link might be lost


def test_workers_write_resilience4js_names(tmp_path: Path) -> None:
    """All but the summary."""
    told = told_by_workers(tmp_path, "resilience4j")
    assert told["resilience4j_circuitbreaker_state"] == {
        **state("llm", "closed", "open"),
        **state("gone"),
        **state("held", "closed"),
    }
    assert told["resilience4j_circuitbreaker_failure_rate"] == {"llm": 100}
    assert "resilience4j_circuitbreaker_calls_seconds_count" not in told
