"""The dashboard and the alerts ask only for what the collector tells, as Prometheus reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from supervisor import CircuitState, MemorySharing, Supervisor
from supervisor.instrumentation.prometheus import CircuitCollector
from supervisor.testing import run_in_virtual_time
from tests.docs.documents import DOCS
from tests.support.observed import busy, counted_anew

MONITORING: Final = DOCS / "monitoring"
DASHBOARD: Final = MONITORING / "dashboard.json"
ALERTS: Final = MONITORING / "alerts.yml"

OF_SCRAPES: Final = {"job", "instance"}
"""The labels that Prometheus adds itself."""

VALUES: Final = {
    "state": {state.value for state in CircuitState},
    "from": {state.value for state in CircuitState},
    "to": {state.value for state in CircuitState},
    "origin": {"here", "fleet", "by hand"},
    "outcome": {"succeeded", "failed", "ignored", "cancelled"},
}
"""What labels of a few values may be."""

VARIABLES: Final = {"$__rate_interval": "1m", "$__interval": "1m"}
"""What Grafana puts into a query where a duration belongs."""


@pytest.fixture(scope="module")
def told() -> bytes:
    """A scrape in which every metric has something to tell."""
    scrapes: list[bytes] = []

    async def work() -> None:
        registry = CollectorRegistry()
        registry.register(CircuitCollector())
        async with Supervisor(sharing=MemorySharing()) as supervisor:
            await busy(supervisor)
            scrapes.append(generate_latest(registry))

    with counted_anew():
        run_in_virtual_time(work)
    return scrapes[0]


@pytest.fixture(scope="module")
def exported(told: bytes) -> dict[str, set[str]]:
    """The labels of each metric that is told."""
    found: dict[str, set[str]] = {}
    for line in told.decode().splitlines():
        if not line.startswith("#"):
            name = re.split(r"[{ ]", line, maxsplit=1)[0]
            found[name] = set(re.findall(r'(\w+)="', line))
    return found


@dataclass
class Query:
    """A query, and where it stands."""

    place: str
    text: str
    shown: str = ""

    def __str__(self) -> str:
        return self.place

    @property
    def expr(self) -> Any:
        """The query as it is parsed; the parser raises if it is none."""
        text = self.text
        for variable, duration in VARIABLES.items():
            text = text.replace(variable, duration)
        return promql_parser.parse(text)


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return read


def queries_of_dashboard() -> Iterator[Query]:
    found = dashboard()
    for panel in found["panels"]:
        for target in panel["targets"]:
            place = f"{panel['title']} {target['refId']}"
            yield Query(place, target["expr"], target["legendFormat"])
    for annotation in found["annotations"]["list"]:
        yield Query(annotation["name"], annotation["expr"], annotation["titleFormat"])
    for variable in found["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert selector is not None
            series, label = selector.groups()
            yield Query(f"${variable['name']}", f"sum by ({label}) ({series})")


def queries_of_alerts() -> Iterator[Query]:
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            texts = " ".join(rule["annotations"].values())
            yield Query(rule["alert"], rule["expr"], texts.replace("$labels.", ""))


QUERIES = [*queries_of_dashboard(), *queries_of_alerts()]


def nodes_of(expr: Any) -> list[Any]:
    nodes: list[Any] = []
    promql_parser.walk(expr, nodes.append)
    return nodes


def selectors_of(expr: Any) -> list[Any]:
    return [node for node in nodes_of(expr) if isinstance(node, promql_parser.VectorSelector)]


def labels_of(expr: Any, exported: Mapping[str, set[str]]) -> set[str]:
    """The labels that all series have that an expression is about."""
    names = [selector.name for selector in selectors_of(expr)]
    return OF_SCRAPES.union(set.intersection(*(exported[name] for name in names)))


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_query_is_about_what_is_exported(query: Query, exported: dict[str, set[str]]) -> None:
    """Every metric is, with every label by which it is chosen or added up, and every value."""
    assert selectors_of(query.expr)
    for selector in selectors_of(query.expr):
        assert selector.name in exported
        for matcher in selector.matchers.matchers:
            assert matcher.name in exported[selector.name] | OF_SCRAPES
            if matcher.name in VALUES:
                assert set(matcher.value.split("|")) <= VALUES[matcher.name]
    kept: set[str] = set()
    for node in nodes_of(query.expr):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            kept.update(node.modifier.labels)
            assert set(node.modifier.labels) <= labels_of(node.expr, exported)
    shown = set(re.findall(r"{{ ?([a-z]+) ?}}", query.shown))
    assert shown <= kept


def test_the_dashboard_is_whole() -> None:
    """Its panels have places of their own, and ask the data source that is chosen."""
    found = dashboard()
    places = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not places & cells
        places |= cells
        assert panel["description"]
        assert {
            panel["datasource"]["uid"],
            *(each["datasource"]["uid"] for each in panel["targets"]),
        } == {"${datasource}"}
    assert {x for x, _ in places} == set(range(24))
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])


def test_the_dashboard_shows_every_metric(exported: dict[str, set[str]]) -> None:
    """But for the number of calls in a window, of which it shows shares."""
    names = {
        selector.name for query in queries_of_dashboard() for selector in selectors_of(query.expr)
    }
    assert names == set(exported) - {"circuit_window_calls"}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Debian's package prometheus has promtool"
)
class TestByPromtool:
    """What Prometheus itself says of it."""

    def promtool(self, *arguments: str, **options: Any) -> None:
        done = subprocess.run(
            ["promtool", *arguments], capture_output=True, text=True, check=False, **options
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""

    def test_alerts(self) -> None:
        """They are valid, and come when they should, by their own tests."""
        self.promtool("check", "rules", "alerts.yml", cwd=MONITORING)
        self.promtool("test", "rules", "alerts.test.yml", cwd=MONITORING)

    def test_queries(self, tmp_path: Path) -> None:
        """Those of the dashboard are valid, as rules."""
        rules = [
            {"record": f"query_{number}", "expr": query.expr.prettify()}
            for number, query in enumerate(queries_of_dashboard())
        ]
        file = tmp_path / "queries.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        self.promtool("check", "rules", str(file))

    def test_a_scrape(self, told: bytes) -> None:
        """Names, kinds and texts are as Prometheus wants them."""
        self.promtool("check", "metrics", input=told.decode())
