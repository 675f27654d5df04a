"""`docs/telemetry.md` and the dashboard name the metrics and attributes that there are."""

import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric

from query import app
from service_core import process
from service_core.interceptors import hop_span, telemetry
from service_core.telemetry import calls, gen_ai, otlp_settings
from tests.servers.otlp import OtlpServer

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "cascada.json").read_text())

_ROW = re.compile(r"^\| `(\w+)` \| (counter|histogram|gauge) \|([^|]*)\|", re.MULTILINE)
_NAME = re.compile(r"\b(?:cascada|gen_ai_client|process)_[a-z_]+")
_BY = re.compile(r"\bby \(([^)]*)\)")
_MATCHED = re.compile(r"\{([^}]*)\}")
_CONVENTION = re.compile(r'"((?:rpc|gen_ai|server|http|error|cascada)\.[a-z_.]+)"')


@pytest.fixture
async def families(tmp_path: Path) -> list[Metric]:
    """All metrics of a process with the query service, a collector and nothing else."""
    environ = {
        "CASCADA_DATA_DIR": str(tmp_path),
        "CASCADA_METRICS_PORT": "0",
        "CASCADA_QUERY_PORT": "0",
        "CASCADA_CHAT_PROVIDER": "openai",
        "OPENAI_API_KEY": "k",
    }
    settings, snapshots = process.configure(environ)
    async with OtlpServer() as collector, AsyncExitStack() as stack:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        opened = await process.open_process(settings, snapshots, stack, environ=environ)
        await app.build(opened, stack)
        return list(opened.metrics.registry.collect())


def labels_on_page() -> dict[str, set[str]]:
    """The labels of each metric."""
    found = _ROW.findall(PAGE)
    return {name: set(labels.replace(" ", "").split(",")) for name, _, labels in found}


def shown_names(family: Metric) -> set[str]:
    """How a metric's series are called in a query."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {f"{family.name}{suffix}" for suffix in suffixes.get(family.type, [""])}


async def test_every_metric_is_on_the_page_and_none_besides(families: list[Metric]) -> None:
    there = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in families
        if not family.name.startswith("process_")
    }
    assert {(name, kind) for name, kind, _ in _ROW.findall(PAGE)} == there


async def test_the_page_has_the_labels_of_every_metric_with_values(families: list[Metric]) -> None:
    listed = labels_on_page()
    checked = 0
    for family in families:
        for sample in family.samples:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            if name in listed and family.type == "gauge":
                assert set(sample.labels) | {""} == listed[name] | {""}
                checked += 1
    assert checked > 5


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable.get("definition", "")


async def test_the_dashboard_asks_only_for_metrics_that_there_are(families: list[Metric]) -> None:
    there = set().union(*map(shown_names, families))
    asked = {name for query in queries() for name in _NAME.findall(_BY.sub("", query))}
    assert len(asked) > 15
    assert asked <= there


async def test_the_dashboard_groups_by_labels_that_its_metrics_have(
    families: list[Metric],
) -> None:
    listed = labels_on_page()
    series = {
        name: listed[page_name] | {"le"}
        for family in families
        for name in shown_names(family)
        if (page_name := f"{family.name}_total" if family.type == "counter" else family.name)
        in listed
    }
    for query in queries():
        wanted = {label.strip() for group in _BY.findall(query) for label in group.split(",")}
        for group in _MATCHED.findall(query):
            wanted |= {matcher.partition("=")[0].rstrip("!") for matcher in group.split(",")}
        wanted -= {"instance", ""}  # Prometheus' own
        for name in _NAME.findall(_BY.sub("", query)):
            if name in series and not query.startswith("label_values"):
                assert wanted <= series[name], query


def test_every_panel_has_its_own_place_and_number() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_every_attribute_of_a_span_is_on_the_page_and_none_besides() -> None:
    written: set[str] = set()
    for module in (hop_span, calls, gen_ai):
        written |= set(_CONVENTION.findall(Path(str(module.__file__)).read_text()))
    written |= {"error.type"}
    table = PAGE.partition("| attribute |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    listed = {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}
    assert listed == written


def test_every_variable_that_is_read_is_on_the_page() -> None:
    text = Path(str(otlp_settings.__file__)).read_text()
    read = set(re.findall(r'"(OTEL_[A-Z_]+[A-Z])"', text))
    assert read
    assert [name for name in read if f"`{name}`" not in PAGE] == []


def test_every_field_of_the_requests_line_is_on_the_page() -> None:
    text = Path(str(telemetry.__file__)).read_text()
    fields = set(re.findall(r"^ {20}(\w+)=", text, re.MULTILINE))
    assert {"method", "code", "reason", "duration_ms"} <= fields
    assert [name for name in fields if f"`{name}`" not in PAGE] == []
