"""What is counted and traced of calls to providers, from real attempts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from config_core.effective import Target
from service_core.deadline import Deadline
from service_core.record import note_context, recording
from service_core.retry import Attempts
from service_core.telemetry import Metrics
from service_core.telemetry.calls import CANCELLED, CallObserver
from service_core.telemetry.request_trace import RequestTrace
from service_core.telemetry.w3c import TraceContext
from service_core.upstream.errors import RateLimitedError, UpstreamFailedError
from service_core.usage import Usage
from tests.unit.service_core.retry_world import (
    GROQ,
    MISTRAL,
    OPENAI,
    Reply,
    configured,
    ending,
)
from tests.unit.service_core.telemetry.fake_spans import FakeSpan, FakeSpans

ANSWER = Reply("req-1", Usage(12, 5), "gpt-answered")


class Scene:
    """One service's observer, what it has counted, and its spans."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.spans = FakeSpans()
        self.observer = CallObserver("query", self.metrics, self.spans)

    def attempts(self, *alternatives: object, **values: object) -> Attempts:
        effective = configured(*alternatives, **values)  # type: ignore[arg-type]
        return Attempts(
            effective, Deadline.after(60), observer=self.observer, draw=lambda _low, _high: 0.0
        )

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's values that have these labels."""
        return sum(
            sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def span(self) -> FakeSpan:
        (span,) = self.spans.made
        return span


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def answering(_: Target) -> Reply:
    return ANSWER


async def test_a_call_is_a_span_under_the_request_with_what_the_conventions_name(
    scene: Scene,
) -> None:
    place = TraceContext("1" * 32, "2" * 16, 1)
    attempts = scene.attempts(chat_model="gpt-asked", temperature=0.5, max_tokens=9, seed=3)
    with recording() as record:
        record.trace = RequestTrace("/a.B/C", place)
        note_context("acme", "")
        await attempts.run(answering)
    start = scene.span.start
    assert (start.name, start.subject, start.parent) == ("chat", "gpt-asked", place)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-asked",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 3,
        "gen_ai.response.model": "gpt-answered",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "cascada.configuration.digest": attempts.effective.digest,
        "cascada.upstream.request_id": "req-1",
        "server.address": "api.openai.com",
    }
    found = scene.span.attributes
    assert {name: found.get(name) for name in expected} == expected
    assert not {"gen_ai.request.stream", "cascada.fallback.reason"} & set(found)
    assert (scene.span.ended, scene.span.failure) == (1, "")


async def test_stop_sequences_and_keys_are_on_no_span(scene: Scene) -> None:
    attempts = scene.attempts(stop=("canary",), chat_api_key="canary-key")
    await attempts.run(answering)
    assert "canary" not in repr(scene.span.attributes)


async def test_tokens_and_time_are_measured_by_model(scene: Scene) -> None:
    await scene.attempts(chat_model="gpt-asked").run(answering)
    labels = {
        "service": "query",
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "gpt-asked",
    }
    usage = "gen_ai_client_token_usage_sum"
    assert scene.value(usage, gen_ai_token_type="input", **labels) == 12
    assert scene.value(usage, gen_ai_token_type="output", **labels) == 5
    assert scene.value("gen_ai_client_operation_duration_seconds_count", **labels) == 1


async def test_a_fallback_is_counted_by_whom_it_stands_in_for(scene: Scene) -> None:
    async def call(target: Target) -> Reply:
        if target.connection.provider is OPENAI:
            raise RateLimitedError(OPENAI, "No.", status=429)
        if target.connection.provider is GROQ:
            raise UpstreamFailedError(GROQ, "No.", status=503)
        return ANSWER

    await scene.attempts(GROQ, MISTRAL, retry_attempts=1).run(call)
    name = "cascada_fallbacks_total"
    first = {"provider": "openai", "alternative": "groq", "reason": "RATE_LIMITED"}
    second = {"provider": "groq", "alternative": "mistral", "reason": "UPSTREAM_FAILED"}
    assert scene.value(name, **first) == 1
    assert scene.value(name, **second) == 1
    assert scene.value(name) == 2
    assert scene.value("cascada_upstream_attempts_total", outcome="failed") == 4
    reasons = [span.attributes.get("cascada.fallback.reason") for span in scene.spans.made]
    assert reasons == [None, None, "RATE_LIMITED", None, "UPSTREAM_FAILED"]
    assert [span.attributes["cascada.attempt"] for span in scene.spans.made] == [1, 2, 3, 4, 5]
    statuses = [span.attributes.get("http.response.status_code") for span in scene.spans.made]
    assert statuses == [429, 429, 503, 503, None]
    failures = [span.failure for span in scene.spans.made]
    assert failures == [*["RATE_LIMITED"] * 2, *["UPSTREAM_FAILED"] * 2, ""]


async def streaming(_: Target) -> AsyncGenerator[str | Reply, None]:
    await asyncio.sleep(0.02)
    yield "one"
    yield ANSWER


async def test_a_streams_first_part_is_timed(scene: Scene) -> None:
    parts = scene.attempts().stream(streaming, ending)
    async with aclosing(parts):
        async for _ in parts:
            pass
    first = scene.span.attributes["gen_ai.response.time_to_first_chunk"]
    assert isinstance(first, float)
    assert first >= 0.02
    assert scene.span.attributes["gen_ai.request.stream"] is True
    assert scene.value("gen_ai_client_operation_time_to_first_chunk_seconds_count") == 1


async def test_a_stream_that_is_left_ends_its_span_and_is_no_attempt(scene: Scene) -> None:
    parts = scene.attempts().stream(streaming, ending)
    await anext(parts)
    await parts.aclose()
    assert (scene.span.ended, scene.span.failure) == (1, CANCELLED)
    assert scene.value("cascada_upstream_attempts_total") == 0


async def test_without_spans_calls_are_counted_all_the_same() -> None:
    scene = Scene()
    scene.observer = CallObserver("query", scene.metrics)
    await scene.attempts().run(answering)
    assert scene.spans.made == []
    assert scene.value("cascada_upstream_attempts_total", outcome="succeeded") == 1


async def test_a_model_that_never_answered_is_no_label(scene: Scene) -> None:
    async def failing(_: Target) -> Reply:
        raise UpstreamFailedError(OPENAI, "No.")

    with pytest.raises(UpstreamFailedError):
        await scene.attempts(chat_model="made-up").run(failing)
    name = "gen_ai_client_operation_duration_seconds_count"
    assert scene.value(name, gen_ai_request_model="other", error_type="UPSTREAM_FAILED") == 1
    assert scene.value(name, gen_ai_request_model="made-up") == 0
