"""What a hop's span says, from calls over a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from config_core.errors import OverloadedError, Reason, RemoteError
from service_core.hop import hop_metadata
from service_core.interceptors import ErrorInterceptor, HandlerInterceptor, TelemetryInterceptor
from service_core.record import note_context, note_effective, note_hops
from service_core.telemetry import Metrics
from service_core.trace import HopReport
from service_core.usage import Usage
from tests.unit.config_core.support import chat, snapshot
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    Message,
    call,
    failure,
    raising,
    serving,
    text,
)
from tests.unit.service_core.telemetry.fake_spans import FakeSpan, FakeSpans

CANARY = "canary-77ab"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)


async def answering(_: Context) -> AsyncIterator[Message]:
    note_context("acme", "order-17")
    yield text(CANARY)


def layers(spans: FakeSpans) -> list[HandlerInterceptor]:
    return [ErrorInterceptor(), TelemetryInterceptor(Metrics(), "probe", spans)]


async def only(spans: FakeSpans) -> FakeSpan:
    """The span, once it has ended: an aborted call may be over for its caller before."""
    while not spans.made or not spans.made[0].ended:  # noqa: ASYNC110 # nothing tells
        await asyncio.sleep(0)
    (span,) = spans.made
    return span


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hop_is_a_span_that_says_how_it_went_and_nothing_of_what_was_said(
    kind: str,
) -> None:
    spans = FakeSpans()
    request = text(CANARY)
    request.context.session_id, request.context.task_id = "s-1", "t-1"
    async with serving(answering, layers(spans)) as channel:
        await call(channel, kind, request)
    span = await only(spans)
    assert span.start.name == f"{SERVICE}/{kind}"
    assert span.attributes == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": kind,
        "rpc.grpc.status_code": 0,
        "rpc.response.status_code": "OK",
        "cascada.service": "probe",
        "cascada.tenant": "acme",
        "cascada.task_id": "t-1",
        "cascada.trace_id": "order-17",
        "gen_ai.conversation.id": "s-1",
    }
    assert (span.ended, span.failure) == (1, "")


async def test_a_hop_goes_under_the_trace_that_its_caller_sends() -> None:
    spans = FakeSpans()
    sent: list[Any] = []

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        note_context("acme", "")
        sent.extend(hop_metadata())
        yield Message()

    async with serving(behaviour, layers(spans)) as channel:
        path = f"/{SERVICE}/UnaryUnary"
        method: Any = channel.unary_unary(path, request_serializer=Message.SerializeToString)
        await method(Message(), metadata=PARENT, timeout=20)
    span = await only(spans)
    assert span.start.parent is not None
    assert span.start.parent.trace_id == TRACE
    assert ("traceparent", f"00-{TRACE}-{span.context.span_id}-01") in sent


async def test_a_failure_of_ours_is_one_of_the_span_and_a_mistake_of_the_callers_is_not() -> None:
    ours, theirs = FakeSpans(), FakeSpans()
    failed = RemoteError(Reason.UPSTREAM_FAILED, f"{CANARY}.")
    async with serving(raising(lambda: failed), layers(ours)) as channel:
        assert (await failure(channel)).code() is grpc.StatusCode.UNAVAILABLE
    async with serving(raising(lambda: OverloadedError("No room.")), layers(theirs)) as channel:
        await failure(channel)
    span = await only(ours)
    assert span.failure == "UPSTREAM_FAILED"
    assert CANARY not in repr(span.attributes)
    span = await only(theirs)
    assert (span.failure, span.attributes["error.type"]) == ("", "OVERLOADED")
    assert span.attributes["rpc.response.status_code"] == "RESOURCE_EXHAUSTED"


async def test_a_request_that_was_refused_before_it_was_read_has_its_span_too() -> None:
    spans = FakeSpans()

    async def refusing(context: Context) -> AsyncIterator[Message]:
        for _ in ():
            yield Message()
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Who are you?")

    request = Message()
    request.context.tenant_id, request.context.trace_id = "acme", TRACE
    async with serving(refusing, layers(spans)) as channel:
        await failure(channel, request=request)
    span = await only(spans)
    assert span.context.trace_id == TRACE
    assert span.attributes["cascada.tenant"] == "acme"
    assert span.attributes["rpc.response.status_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("reported", [True, False])
async def test_a_hop_says_which_configuration_ran(*, reported: bool) -> None:
    spans = FakeSpans()
    effective = chat(snapshot({}, {"OPENAI_API_KEY": CANARY}), {"chat_model": "gpt-asked"})

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        note_effective(effective)
        if reported:
            report = HopReport("probe", effective, 0.1, (), Usage(7, 2), resolved_model="gpt-real")
            note_hops([report])
        yield Message()

    async with serving(behaviour, layers(spans)) as channel:
        await call(channel, "UnaryUnary")
    attributes = (await only(spans)).attributes
    assert attributes["cascada.configuration.digest"] == effective.digest
    assert attributes["cascada.configuration.version"] == effective.snapshot_version
    assert attributes["gen_ai.request.model"] == "gpt-asked"
    assert attributes.get("gen_ai.usage.input_tokens") == (7 if reported else None)
    assert attributes.get("gen_ai.response.model") == ("gpt-real" if reported else None)
    assert CANARY not in repr(attributes)


async def test_a_span_that_nobody_records_is_not_described() -> None:
    class Unseen(FakeSpans):
        def start(self, start: Any) -> Any:
            span: Any = super().start(start)
            span.is_recording = False
            return span

    spans = Unseen()
    async with serving(answering, layers(spans)) as channel:
        await call(channel, "UnaryUnary")
    span = await only(spans)
    assert (span.attributes, span.ended) == ({}, 1)
