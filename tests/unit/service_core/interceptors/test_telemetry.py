import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from cascada.query.v1 import query_service_pb2 as query

from config_core.errors import OverloadedError
from service_core.interceptors import (
    Call,
    ErrorInterceptor,
    HandlerInterceptor,
    TelemetryInterceptor,
)
from service_core.interceptors.telemetry import _whose
from service_core.record import Record
from service_core.telemetry import Metrics
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Behaviour,
    Context,
    Message,
    aborting,
    call,
    failure,
    raising,
    serving,
    text,
)

CANARY = "canary-77ab"


async def answering(_: Context) -> AsyncIterator[Message]:
    yield text(CANARY)


def interceptors(metrics: Metrics) -> list[HandlerInterceptor]:
    return [ErrorInterceptor(), TelemetryInterceptor(metrics, "probe")]


def count(metrics: Metrics, kind: str, code: str, reason: str = "") -> float | None:
    return metrics.registry.get_sample_value(
        "cascada_requests_total",
        {"service": "probe", "method": f"/{SERVICE}/{kind}", "code": code, "reason": reason},
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("behaviour", "code", "reason"),
    [
        (answering, "OK", ""),
        (raising(lambda: OverloadedError("No room.")), "RESOURCE_EXHAUSTED", "OVERLOADED"),
        (raising(lambda: ValueError(CANARY)), "INTERNAL", "INTERNAL"),
        (aborting, "DATA_LOSS", ""),
    ],
)
async def test_a_request_is_counted_by_code_and_reason(
    kind: str, behaviour: Behaviour, code: str, reason: str
) -> None:
    metrics = Metrics()
    async with serving(behaviour, interceptors(metrics)) as channel:
        if code == "OK":
            await call(channel, kind)
        else:
            await failure(channel, kind)
    # After an abort the caller may know before the handler has come to its end.
    while count(metrics, kind, code, reason) is None:  # noqa: ASYNC110 # nothing tells
        await asyncio.sleep(0)
    assert count(metrics, kind, code, reason) == 1


async def test_a_request_is_in_flight_until_it_ends() -> None:
    metrics, running, finish = Metrics(), asyncio.Event(), asyncio.Event()

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        running.set()
        await finish.wait()
        yield Message()

    def in_flight() -> float | None:
        return metrics.registry.get_sample_value(
            "cascada_requests_in_flight",
            {"service": "probe", "method": f"/{SERVICE}/UnaryUnary"},
        )

    async with serving(behaviour, interceptors(metrics)) as channel:
        task = asyncio.create_task(call(channel, "UnaryUnary"))
        await running.wait()
        assert in_flight() == 1
        finish.set()
        await task
    assert in_flight() == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_gets_one_line_with_its_identity_and_none_of_its_content(kind: str) -> None:
    request = text(CANARY)
    request.context.tenant_id, request.context.trace_id = "acme", "t-1"
    with structlog.testing.capture_logs() as logs:
        async with serving(answering, interceptors(Metrics())) as channel:
            await call(channel, kind, request)
    (line,) = logs
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "service": "probe",
        "method": f"/{SERVICE}/{kind}",
        "code": "OK",
        "reason": "",
        "tenant": "acme",
        "trace_id": "t-1",
    }


def call_of(request: object) -> Call:
    context: Any = None
    return Call("/test.Service/Call", context, request)


def test_a_stream_that_opens_with_options_is_known_by_their_context() -> None:
    request = query.IndexDocumentsRequest()
    request.options.context.tenant_id = "acme"
    assert _whose(call_of(request), Record()) == {"tenant": "acme"}


def test_an_overlong_identity_is_cut() -> None:
    request = Message()
    request.context.tenant_id = "x" * 10_000
    assert _whose(call_of(request), Record()) == {"tenant": "x" * 128}
