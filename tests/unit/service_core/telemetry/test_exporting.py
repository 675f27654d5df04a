"""Spans and metrics at a real collector: one that takes them, is slow, or is away."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog

from service_core.redaction import scrub
from service_core.telemetry import Metrics
from service_core.telemetry.exporting import Exporting
from service_core.telemetry.otlp_settings import OtlpSettings
from service_core.telemetry.spans import SpanKind, Spans, SpanStart
from service_core.telemetry.w3c import TraceContext
from tests.servers.otlp import OtlpServer

CANARY = "canary-secret-0001"
TRACE = "0af7651916cd43dd8448eb211c80319c"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _soon_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service_core.telemetry.exporting.CLOSING_SECONDS", 1.0)


def clean(text: str) -> str:
    return scrub(text, [CANARY])


@asynccontextmanager
async def exporting(
    url: str, metrics: Metrics, *, several: bool = False, name: str = "", interval: float = 60
) -> AsyncIterator[Exporting]:
    settings = OtlpSettings(url, url, name, interval)
    exports = await asyncio.to_thread(Exporting, settings, metrics, clean, several=several)
    try:
        yield exports
    finally:
        await exports.aclose()


def spans_of(exports: Exporting, service: str) -> Spans:
    found = exports.spans(service)
    assert found is not None
    return found


async def test_what_is_left_at_the_end_is_exported() -> None:
    async with OtlpServer() as collector:
        async with exporting(collector.url, Metrics()) as exports:
            span = spans_of(exports, "query").start(SpanStart("a.B/C", SpanKind.SERVER))
            span.set({"number": 1, "texts": ("a", "b")})
            span.fail("UPSTREAM_FAILED")
            span.end()
        (received,) = collector.received
    assert (received.name, received.kind, received.is_error) == ("a.B/C", "SERVER", True)
    expected = {"number": 1, "texts": ["a", "b"], "error.type": "UPSTREAM_FAILED"}
    assert received.attributes == expected


@pytest.mark.parametrize(
    ("several", "name", "expected"),
    [
        (True, "", {"cascada-query", "cascada-embedding", "cascada"}),
        (True, "shop", {"shop-query", "shop-embedding", "shop"}),
    ],
)
async def test_the_services_of_a_process_are_told_apart(
    name: str, expected: set[str], *, several: bool
) -> None:
    async with OtlpServer() as collector:
        async with exporting(collector.url, Metrics(), several=several, name=name) as exports:
            for service in ("query", "embedding"):
                spans_of(exports, service).start(SpanStart("x", SpanKind.SERVER)).end()
        spans = {span.service for span in collector.received}
        metrics = {service for service, _ in collector.metrics}
    assert spans | metrics == expected
    assert len(metrics) == 1


@pytest.mark.parametrize(("name", "expected"), [("", "cascada-query"), ("shop", "shop")])
async def test_a_service_alone_has_the_operators_name(name: str, expected: str) -> None:
    async with OtlpServer() as collector:
        async with exporting(collector.url, Metrics(), name=name) as exports:
            spans_of(exports, "query").start(SpanStart("x", SpanKind.SERVER)).end()
        assert collector.received[0].service == expected
        assert {service for service, _ in collector.metrics} == {expected}


async def test_texts_from_outside_lose_their_secrets_and_their_length() -> None:
    async with OtlpServer() as collector:
        async with exporting(collector.url, Metrics()) as exports:
            start = SpanStart("chat", SpanKind.CLIENT, subject=f"model-{CANARY}")
            span = spans_of(exports, "query").start(start)
            span.set_outside(
                {"a": f"x{CANARY}", "b": "sk-0123456789abcdef0", "c": "", "d": "y" * 999}
            )
            span.end()
        (received,) = collector.received
        exported = b"".join(collector.bodies)
    assert received.attributes == {"a": "x[redacted]", "b": "[redacted]", "d": "y" * 256}
    assert received.name == "chat model-[redacted]"
    assert CANARY.encode() not in exported


async def test_a_span_goes_under_its_parent_and_takes_its_state_and_its_word_on_sampling() -> None:
    async with OtlpServer() as collector:
        async with exporting(collector.url, Metrics()) as exports:
            spans = spans_of(exports, "query")
            parent = TraceContext(TRACE, "b7ad6b7169203331", 1, "shop=t61")
            span = spans.start(SpanStart("x", SpanKind.SERVER, parent=parent))
            quiet = TraceContext(TRACE, "b7ad6b7169203331", 0)
            unseen = spans.start(SpanStart("unseen", SpanKind.SERVER, parent=quiet))
            for each in (span, unseen):
                each.end()
        (received,) = collector.received
    assert (received.trace_id, received.parent_id) == (TRACE, parent.span_id)
    assert (span.context.trace_id, span.context.span_id) == (TRACE, received.span_id)
    assert (span.context.state, span.context.is_sampled) == ("shop=t61", True)
    assert (unseen.is_recording, unseen.context.is_sampled) == (False, False)
    assert unseen.context.trace_id == TRACE


async def test_a_trace_that_begins_has_the_id_that_was_chosen_and_the_next_one_has_not() -> None:
    async with exporting(NOWHERE, Metrics()) as exports:
        spans = spans_of(exports, "query")
        chosen = SpanStart("x", SpanKind.SERVER, trace_id=TRACE)
        under = SpanStart(
            "x", SpanKind.SERVER, parent=TraceContext("a" * 32, "b" * 16), trace_id=TRACE
        )
        assert spans.start(chosen).context.trace_id == TRACE
        assert spans.start(under).context.trace_id == "a" * 32
        assert spans.start(SpanStart("x", SpanKind.SERVER)).context.trace_id != TRACE


async def test_a_collector_that_is_away_costs_no_time_and_one_warning() -> None:
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        async with exporting(NOWHERE, metrics, interval=0.01) as exports:
            spans = spans_of(exports, "query")
            for _ in range(20):
                spans.start(SpanStart("x", SpanKind.SERVER)).end()
                await asyncio.sleep(0.001)
    signals = sorted(line["signal"] for line in logs)
    assert signals == ["metrics", "traces"]
    assert "127.0.0.1:1" not in repr(logs)
    failed = metrics.registry.get_sample_value(
        "cascada_telemetry_exports", {"signal": "traces", "outcome": "failed"}
    )
    assert failed == 1


async def test_a_collector_that_does_not_answer_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    async with OtlpServer(delay=3600) as collector:
        ticks = 0
        async with exporting(collector.url, Metrics()) as exports:
            spans_of(exports, "query").start(SpanStart("x", SpanKind.SERVER)).end()
            closing = asyncio.create_task(exports.aclose())
            async with asyncio.timeout(20):  # the SDK by itself waits for 30
                while not closing.done():
                    await asyncio.sleep(0.01)
                    ticks += 1
    assert ticks > 5  # the loop went on meanwhile
    assert collector.received == []
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("otlp", "Otel"))]


async def test_metrics_arrive_as_prometheus_shows_them_under_their_conventions_names() -> None:
    metrics = Metrics()
    metrics.requests.labels("query", "/m", "OK", "").inc(3)
    metrics.in_flight.labels("query", "/m").inc(2)
    call = ("query", "chat", "openai", "", "gpt-4o-mini")
    for tokens in (3, 10, 100):
        metrics.tokens.labels(*call, "input").observe(tokens)
    async with OtlpServer() as collector:
        async with exporting(collector.url, metrics, interval=0.05) as exports:
            spans_of(exports, "query")
            await collector.metric("cascada-query", "cascada_requests_total", lambda _: True)
        found = {name: metric for (_, name), metric in collector.metrics.items()}
    (requests,) = found["cascada_requests_total"].sum.data_points
    assert requests.as_double == 3
    assert found["cascada_requests_total"].sum.is_monotonic
    assert {pair.key: pair.value.string_value for pair in requests.attributes} == {
        "service": "query",
        "method": "/m",
        "code": "OK",
    }
    assert requests.start_time_unix_nano <= requests.time_unix_nano <= time.time_ns()
    (in_flight,) = found["cascada_requests_in_flight"].gauge.data_points
    assert in_flight.as_double == 2
    tokens_metric = found["gen_ai.client.token.usage"]
    (usage,) = tokens_metric.histogram.data_points
    assert (usage.count, usage.sum, tokens_metric.unit) == (3, 113, "{token}")
    assert list(usage.explicit_bounds[:5]) == [1, 4, 16, 64, 256]
    assert list(usage.bucket_counts[:5]) == [0, 1, 1, 0, 1]
    assert len(usage.bucket_counts) == len(usage.explicit_bounds) + 1
    assert "gen_ai.token.type" in {pair.key for pair in usage.attributes}


def test_without_a_collector_nothing_of_the_sdk_is_imported() -> None:
    code = (
        "import sys, agent_execution.app, query.app, embedding.app, service_core.entry\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
