"""One trace across three processes, as it arrives at a collector; metrics as Prometheus reads them.

Chat at Mistral, with Groq behind it, and embeddings at OpenAI: all on the test's own server.
"""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import model_configuration_pb2, model_provider_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from config_core.model_configuration import ModelProvider
from tests.servers.otlp import OtlpServer, ReceivedSpan
from tests.system.asking import UPSTREAM_MODELS, base_urls, index_all, searched
from tests.system.cluster import CALL_SECONDS, Cluster, free_ports
from tests.upstream.behaviours import Answer, Status
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.server import UpstreamServer

CHAT_KEY = "canary-chat-key-0001"
EMBEDDING_KEY = "canary-embedding-key-0002"
GROQ_KEY = "canary-groq-key-0003"
COLLECTOR_KEY = "canary-collector-key-0004"
QUESTION = "canary-question-0005 What is the capital of France?"
SYSTEM_PROMPT = "canary-system-prompt-0006"

CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"
PARENT = (("traceparent", f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"), ("tracestate", "shop=t61"))


def environ(upstream: UpstreamServer, collector: OtlpServer) -> dict[str, str]:
    return {
        **UPSTREAM_MODELS,
        **base_urls(upstream),
        "CASCADA_CHAT_PROVIDER": "mistral",
        "CASCADA_TEMPERATURE": "0.25",
        "CASCADA_RETRY_ATTEMPTS": "0",
        "MISTRAL_API_KEY": CHAT_KEY,
        "OPENAI_API_KEY": EMBEDDING_KEY,
        "GROQ_API_KEY": GROQ_KEY,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{COLLECTOR_KEY}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
    }


def by_service(spans: list[ReceivedSpan]) -> dict[tuple[str, str], ReceivedSpan]:
    return {(span.service, span.kind): span for span in spans}


async def stream(cluster: Cluster, **fields: Any) -> agent_execution.ExecuteResponse:
    """Ask for a stream and give its last event."""
    stub = AgentExecutionServiceStub(cluster.channel("agent-execution"))
    request = agent_execution.StreamExecuteRequest(
        message=QUESTION,
        system_prompt=SYSTEM_PROMPT,
        retrieval=searched(),
        context=request_context_pb2.RequestContext(session_id="session-1"),
        **fields,
    )
    call = stub.StreamExecute(request, timeout=CALL_SECONDS, metadata=PARENT)
    try:
        events = [event async for event in call]
    finally:
        call.cancel()
    return events[-1].completed


def check_tree(spans: list[ReceivedSpan]) -> dict[tuple[str, str], ReceivedSpan]:
    """One trace, each span under the one that caused it, and within its time."""
    found = by_service(spans)
    agent = found["cascada-agent-execution", "SERVER"]
    query = found["cascada-query", "SERVER"]
    embedding = found["cascada-embedding", "SERVER"]
    parents = {
        agent.span_id: CALLERS_SPAN,
        query.span_id: agent.span_id,
        embedding.span_id: query.span_id,
        found["cascada-embedding", "CLIENT"].span_id: embedding.span_id,
        found["cascada-query", "CLIENT"].span_id: query.span_id,
    }
    assert {span.span_id: span.parent_id for span in spans} == parents
    assert {span.trace_id for span in spans} == {CALLERS_TRACE}
    at = {span.span_id: span for span in spans}
    for span in spans:
        assert span.begins <= span.ends
        if span.parent_id in at:
            assert at[span.parent_id].begins <= span.begins
            assert span.ends <= at[span.parent_id].ends
    return found


@pytest.mark.parametrize("alone", [True, False])
async def test_one_trace_runs_from_agent_execution_to_both_providers(
    tmp_path: Path, upstream: UpstreamServer, *, alone: bool
) -> None:
    async with (
        OtlpServer() as collector,
        Cluster(tmp_path, environ(upstream, collector)) as cluster,
    ):
        await (cluster.serve_each() if alone else cluster.serve_all())
        await index_all(cluster.query)
        collector.received.clear()
        upstream.default = Answer(delay=0.05)
        answer = await stream(cluster)
        found = check_tree(await collector.spans(5, CALLERS_TRACE))
        await asyncio.gather(*(program.stop() for program in cluster.programs))
        assert len(collector.of_trace(CALLERS_TRACE)) == 5
        logs = "".join(program.log.read_text() for program in cluster.programs)
    digests = {
        (hop.service, int(hop.operation)): hop.effective.digest
        for hop in answer.configuration_trace.hops
    }
    check_chat(found["cascada-query", "CLIENT"].attributes, digests["query", 1], upstream)
    check_embeddings(found["cascada-embedding", "CLIENT"].attributes, digests["embedding", 2])
    check_hops(found, digests)
    check_logs(logs, found)
    check_nothing_leaks(collector, logs)


def check_chat(attributes: Mapping[str, Any], digest: str, upstream: UpstreamServer) -> None:
    first_chunk = attributes["gen_ai.response.time_to_first_chunk"]
    assert 0.05 <= first_chunk < 20
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "mistral-small-latest",
        "gen_ai.response.model": "mistral-small-latest",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.25,
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "127.0.0.1",
        "cascada.configuration.digest": digest,
        "cascada.attempt": 1,
    }
    assert {name: attributes.get(name) for name in expected} == expected
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert attributes["gen_ai.usage.output_tokens"] > 0
    assert f":{attributes['server.port']}/" in upstream.url(ModelProvider.OPENAI)
    assert "error.type" not in attributes


def check_embeddings(attributes: Mapping[str, Any], digest: str) -> None:
    expected = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-small",
        "cascada.configuration.digest": digest,
    }
    assert {name: attributes.get(name) for name in expected} == expected
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert "gen_ai.usage.output_tokens" not in attributes
    assert "gen_ai.response.time_to_first_chunk" not in attributes


def check_hops(
    found: Mapping[tuple[str, str], ReceivedSpan], digests: Mapping[tuple[str, int], str]
) -> None:
    hops = {
        "agent-execution": ("agent_execution.v1.AgentExecutionService/StreamExecute", 1),
        "query": ("query.v1.QueryService/StreamQuery", 1),
        "embedding": ("embedding.v1.EmbeddingService/Embed", 2),
    }
    for service, (method, operation) in hops.items():
        span = found[f"cascada-{service}", "SERVER"]
        assert span.name == f"cascada.{method}"
        attributes = span.attributes
        assert (attributes["rpc.system"], attributes["rpc.grpc.status_code"]) == ("grpc", 0)
        assert f"{attributes['rpc.service']}/{attributes['rpc.method']}" == span.name
        assert attributes["cascada.tenant"] == "default"
        assert attributes["cascada.configuration.digest"] == digests[service, operation]
        assert attributes["gen_ai.conversation.id"] == "session-1"
    assert found["cascada-query", "SERVER"].attributes["gen_ai.usage.output_tokens"] > 0


def check_logs(logs: str, found: Mapping[tuple[str, str], ReceivedSpan]) -> None:
    """The line of each hop has the ids of its span."""
    lines = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line.get("event") == "request"]
    last = {line["service"]: line for line in requests}
    for service in ("agent-execution", "query", "embedding"):
        span = found[f"cascada-{service}", "SERVER"]
        line = last[service]
        assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)
        assert "cascada.trace_id" not in line


def check_nothing_leaks(collector: OtlpServer, logs: str) -> None:
    exported = b"".join(collector.bodies)
    assert b"cascada-query" in exported
    assert b"canary" not in exported
    assert b"Paris" not in exported  # neither passage nor answer
    assert "canary" not in logs
    assert all(
        headers["authorization"] == f"Bearer {COLLECTOR_KEY}" for headers in collector.headers
    )


async def test_a_failed_call_and_its_fallback_are_seen_on_spans_and_as_metrics(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    (port,) = free_ports(1)
    async with (
        OtlpServer() as collector,
        Cluster(tmp_path, environ(upstream, collector)) as cluster,
    ):
        await cluster.serve_each({"query": {"CASCADA_METRICS_PORT": str(port)}})
        upstream.choose = only_groq
        for _ in range(6):
            await cluster.execute(QUESTION, model_configuration=with_groq_behind())
        spans = await collector.spans(6 * 3 + 5)  # the sixth finds the circuit open
        shown = await asyncio.to_thread(read_metrics, port)
        await collector.metric("cascada-query", "cascada_fallbacks_total", lambda m: count(m) == 6)
        name = "gen_ai.client.operation.duration"
        durations = await collector.metric("cascada-query", name, lambda m: count(m) == 11)
        await asyncio.gather(*(program.stop() for program in cluster.programs))
        check_nothing_leaks(collector, cluster.logs())
    calls = [span for span in spans if span.kind == "CLIENT"]
    failed = [span for span in calls if span.is_error]
    assert len(failed) == 5
    for span in failed:
        assert span.attributes["error.type"] == "UPSTREAM_FAILED"
        assert span.attributes["http.response.status_code"] == 503
        assert span.attributes["gen_ai.provider.name"] == "mistral_ai"
    stood_in = [span for span in calls if not span.is_error]
    assert {span.attributes["cascada.fallback.reason"] for span in stood_in} == {"UPSTREAM_FAILED"}
    assert {span.attributes["gen_ai.provider.name"] for span in stood_in} == {"groq"}
    check_shown(shown)
    assert durations.unit == "s"
    assert {point.explicit_bounds[0] for point in durations.histogram.data_points} == {0.01}


def count(metric: metrics_pb2.Metric) -> float:
    """What was counted, with all labels."""
    return sum(point.as_double for point in metric.sum.data_points) + sum(
        point.count for point in metric.histogram.data_points
    )


def check_shown(shown: Mapping[str, float]) -> None:
    """What Prometheus reads at the query service."""
    assert total(shown, "cascada_fallbacks_total", 'alternative="groq"', 'provider="mistral"') == 6
    assert total(shown, "cascada_circuit_state", 'provider="mistral"') == 2
    assert total(shown, "cascada_circuit_state", 'provider="groq"') == 0
    assert total(shown, "gen_ai_client_token_usage_sum", 'gen_ai_token_type="output"') > 0
    assert total(shown, "gen_ai_client_operation_duration_seconds_count", 'error_type=""') == 6
    assert total(shown, "cascada_upstream_pool", 'what="clients"') == 2
    assert total(shown, "cascada_upstream_attempts_total", 'outcome="failed"') == 5
    assert total(shown, "cascada_configuration_info", 'version="') == 1
    assert total(shown, "cascada_configuration_age_seconds") > 0
    assert total(shown, "cascada_requests_total", 'code="OK"') == 6


def only_groq(received: Received) -> Behaviour:
    if received.provider is ModelProvider.GROQ:
        return Answer()
    return Status(503, "canary-upstream-text {key}")


def with_groq_behind() -> model_configuration_pb2.ModelConfiguration:
    groq = model_configuration_pb2.Fallback(provider=model_provider_pb2.MODEL_PROVIDER_GROQ)
    return model_configuration_pb2.ModelConfiguration(
        chat_provider=model_provider_pb2.MODEL_PROVIDER_MISTRAL,
        fallbacks=model_configuration_pb2.Fallbacks(alternatives=[groq]),
    )


def read_metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def total(shown: Mapping[str, float], name: str, *labels: str) -> float:
    """The sum of a metric's values with these labels; there has to be one."""
    found = [
        value
        for series, value in shown.items()
        if series.partition("{")[0] == name and all(label in series for label in labels)
    ]
    assert found, name
    return sum(found)
