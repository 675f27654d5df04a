"""One line for each request, however it ended."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import model_configuration_pb2, model_provider_pb2
from cascada.embedding.v1 import embedding_service_pb2 as pb
from cascada.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2
from pydantic import SecretStr

import embedding.app
from config_core.errors import OverloadedError, UnauthenticatedError
from config_core.fingerprint import fingerprint
from config_core.identity import Role
from config_core.model_configuration import ModelProvider
from service_core.audit.log import NAME
from service_core.hop import MARK
from service_core.identity.caller import Caller
from service_core.interceptors import (
    AuditInterceptor,
    Call,
    ErrorInterceptor,
    HandlerInterceptor,
    Proceed,
)
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Behaviour,
    Context,
    Message,
    aborting,
    call,
    failure,
    health,
    raising,
    serving,
    text,
)
from tests.unit.service_core.running import Running, running
from tests.upstream.behaviours import Silence, Status
from tests.upstream.server import UpstreamServer

Logs = Sequence[MutableMapping[str, Any]]
OPENAI = ModelProvider.OPENAI
OPERATORS, CALLERS = "sk-operators-0123456789", "sk-the-callers-own-0123456789"
KEY = "the key of the fingerprints"


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Give the lines that are kept."""
    logger = logging.getLogger(NAME)
    level = logger.level
    logger.setLevel(logging.INFO)
    with structlog.testing.capture_logs() as captured:
        yield captured
    logger.setLevel(level)


def lines(logs: Logs) -> list[Mapping[str, Any]]:
    return [entry for entry in logs if entry["event"] == "audit"]


def only(logs: Logs) -> Mapping[str, Any]:
    (line,) = lines(logs)
    return line


async def until_written(logs: Logs) -> None:
    async with asyncio.timeout(20):
        while not lines(logs):  # noqa: ASYNC110 # what is waited for tells nobody
            await asyncio.sleep(0.01)


class As(HandlerInterceptor):
    """Has every call come from one identity, or from nobody that is known."""

    def __init__(self, caller: Caller | None) -> None:
        self._caller = caller

    async def around(self, call: Call, proceed: Proceed) -> Any:
        if self._caller is None:
            raise UnauthenticatedError
        call.caller = self._caller
        return await proceed()


def layers(*inside: HandlerInterceptor) -> Sequence[HandlerInterceptor]:
    return [ErrorInterceptor(), AuditInterceptor("probe"), *inside]


async def answering(_: Context) -> AsyncIterator[Message]:
    yield text("one")
    yield text("two")


def asked(tenant: str = "acme", **more: str) -> Message:
    return Message(
        context=request_context_pb2.RequestContext(tenant_id=tenant, **more), texts=["question"]
    )


# --- Who, and what came of it


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("behaviour", "code", "reason"),
    [
        (answering, "OK", ""),
        (raising(lambda: OverloadedError("No room.")), "RESOURCE_EXHAUSTED", "OVERLOADED"),
        (raising(lambda: ValueError("secret")), "INTERNAL", "INTERNAL"),
        (aborting, "DATA_LOSS", ""),
    ],
)
async def test_every_call_has_one_line_with_its_outcome(
    kind: str, behaviour: Behaviour, code: str, reason: str, logs: Logs
) -> None:
    async with serving(behaviour, layers()) as channel:
        with suppress(grpc.aio.AioRpcError):
            await call(channel, kind, asked(trace_id="t-1"))
    line = only(logs)
    assert (line["code"], line["reason"]) == (code, reason)
    assert (line["service"], line["method"]) == ("probe", f"/{SERVICE}/{kind}")
    assert (line["tenant"], line["trace_id"]) == ("acme", "t-1")
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["duration_ms"] >= 0
    assert line["entry"] is True


async def test_the_identity_is_named_and_gives_the_tenant(logs: Logs) -> None:
    web = As(Caller("token web", "acme", frozenset({Role.CALLER})))
    async with serving(answering, layers(web)) as channel:
        await call(channel, "UnaryUnary", asked(tenant=""))
    assert (only(logs)["caller"], only(logs)["tenant"]) == ("token web", "acme")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_without_an_identity_stands_in_the_audit(kind: str, logs: Logs) -> None:
    async with serving(answering, layers(As(None))) as channel:
        await failure(channel, kind, asked())
    line = only(logs)
    assert (line["code"], line["reason"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert line["caller"] == ""
    assert line["peer"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_is_cancelled_stands_in_the_audit(kind: str, logs: Logs) -> None:
    entered = asyncio.Event()

    async def waiting(_: Context) -> AsyncIterator[Message]:
        yield text("one")
        entered.set()
        await asyncio.Event().wait()

    async def waiting_alone(_: Context) -> AsyncIterator[Message]:
        entered.set()
        await asyncio.Event().wait()
        yield text("never")

    streams = kind.endswith("Stream")
    async with serving(waiting if streams else waiting_alone, layers()) as channel:
        asking = asyncio.create_task(call(channel, kind, asked()))
        await entered.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until_written(logs)
    assert only(logs)["code"] == "CANCELLED"


async def test_a_call_of_a_request_inside_is_told_from_one_that_enters(logs: Logs) -> None:
    async with serving(answering, layers()) as channel:
        method: Any = channel.unary_unary(
            f"/{SERVICE}/UnaryUnary", request_serializer=Message.SerializeToString
        )
        await method(asked(), metadata=MARK, timeout=20)
    assert only(logs)["entry"] is False


async def test_health_has_no_line(logs: Logs) -> None:
    async with serving(answering, layers()) as channel:
        await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert lines(logs) == []


async def test_a_tenant_without_end_is_cut(logs: Logs) -> None:
    async with serving(answering, layers()) as channel:
        await call(channel, "UnaryUnary", asked("x" * 10_000, trace_id="y" * 10_000))
    assert (len(only(logs)["tenant"]), len(only(logs)["trace_id"])) == (256, 256)


# --- What ran, and with whose key


@asynccontextmanager
async def embeddings(
    folder: Path, document: Mapping[str, Any] | None = None, **environ: str
) -> AsyncIterator[tuple[Running, UpstreamServer]]:
    path = folder / "cascada.json"
    path.write_text(json.dumps(document or {}), encoding="utf-8")
    async with UpstreamServer() as upstream:
        variables = {
            "OPENAI_API_KEY": OPERATORS,
            "OPENAI_BASE_URL": upstream.url(OPENAI),
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_MODEL": "some-model",
            "CASCADA_FINGERPRINT_KEY": KEY,
            "CASCADA_CONFIG_FILE": str(path),
            **environ,
        }
        async with running(embedding.app.build, variables) as service:
            yield service, upstream


async def embed(service: Running, **fields: Any) -> pb.EmbedResponse | None:
    request = pb.EmbedRequest(
        texts=["a word"], context=request_context_pb2.RequestContext(tenant_id="acme"), **fields
    )
    try:
        return await pb_grpc.EmbeddingServiceStub(service.channel).Embed(request, timeout=20)
    except grpc.aio.AioRpcError:
        return None


def own_key() -> model_configuration_pb2.ModelConfiguration:
    return model_configuration_pb2.ModelConfiguration(
        embedding_provider=model_provider_pb2.MODEL_PROVIDER_OPENAI, embedding_api_key=CALLERS
    )


@pytest.mark.parametrize(
    ("key", "owner", "source"),
    [(OPERATORS, "operator", "ENVIRONMENT"), (CALLERS, "caller", "REQUEST")],
)
async def test_a_line_says_what_ran_with_whose_key(
    key: str, owner: str, source: str, logs: Logs, tmp_path: Path
) -> None:
    fields = {"model_configuration": own_key()} if key == CALLERS else {}
    async with embeddings(tmp_path) as (service, _):
        response = await embed(service, **fields)
    assert response is not None
    line = only(logs)
    assert line["digest"] == response.configuration_trace.hops[0].effective.digest
    assert line["snapshot"] == response.configuration_trace.hops[0].effective.snapshot_version
    shown = {name: line[name] for name in ("operation", "provider", "endpoint", "model")}
    assert shown == {
        "operation": "embedding",
        "provider": "openai",
        "endpoint": "",
        "model": "some-model",
    }
    assert line["key"] == fingerprint(SecretStr(key), SecretStr(KEY))
    assert (line["key_owner"], line["key_source"]) == (owner, source)
    assert (line["attempts"], line["input_tokens"], line["output_tokens"]) == (1, 5, 0)


async def test_without_a_key_of_their_own_there_are_no_fingerprints(
    logs: Logs, tmp_path: Path
) -> None:
    async with embeddings(tmp_path, CASCADA_FINGERPRINT_KEY="") as (service, _):
        await embed(service)
    assert (only(logs)["key"], only(logs)["key_owner"]) == ("", "operator")


async def test_a_call_that_failed_says_what_was_tried(logs: Logs, tmp_path: Path) -> None:
    async with embeddings(tmp_path) as (service, upstream):
        upstream.default = Status(400)
        await embed(service)
    line = only(logs)
    assert (line["reason"], line["attempts"]) == ("UPSTREAM_REJECTED", 1)
    assert (line["provider"], line["model"]) == ("openai", "some-model")
    assert line["digest"]


async def test_a_call_that_policy_refused_says_what_it_would_have_been(
    logs: Logs, tmp_path: Path
) -> None:
    async with embeddings(tmp_path, {"policy": {"providers": ["local"]}}) as (service, upstream):
        await embed(service)
    line = only(logs)
    assert (line["code"], line["reason"]) == ("PERMISSION_DENIED", "POLICY_VIOLATION")
    assert (line["provider"], line["attempts"]) == ("openai", 0)
    assert upstream.requests == []


async def test_a_call_that_a_limit_refused_stands_in_the_audit(logs: Logs, tmp_path: Path) -> None:
    document = {"policy": {"limits": {"requests_per_minute": 1}}}
    async with embeddings(tmp_path, document) as (service, _):
        for _ in range(2):
            await embed(service)
    reasons = [line["reason"] for line in lines(logs)]
    assert reasons == ["", "LIMIT_EXCEEDED"]
    assert lines(logs)[1]["tenant"] == "acme"


async def test_a_call_that_was_given_up_says_what_it_was(logs: Logs, tmp_path: Path) -> None:
    async with embeddings(tmp_path) as (service, upstream):
        upstream.default = Silence()
        asking = asyncio.create_task(embed(service))
        await upstream.received()
        asking.cancel()
        await until_written(logs)
    line = only(logs)
    assert (line["code"], line["provider"], line["model"]) == ("CANCELLED", "openai", "some-model")
    assert line["key"] == fingerprint(SecretStr(OPERATORS), SecretStr(KEY))


# --- Content and secrets


async def test_what_was_asked_and_answered_is_left_out_unless_wanted(
    logs: Logs, tmp_path: Path
) -> None:
    for wanted in ("0", "1"):
        async with embeddings(tmp_path, CASCADA_AUDIT_CONTENT=wanted) as (service, _):
            await embed(service, model_configuration=own_key())
    without, with_content = lines(logs)
    assert "a word" not in str(without)
    assert with_content["request"]["texts"] == ["a word"]
    assert "configuration_trace" not in with_content["response"]
    assert with_content["response"]["usage"] == {"input_tokens": 5}


async def test_no_line_holds_a_key(logs: Logs, tmp_path: Path) -> None:
    async with embeddings(tmp_path, CASCADA_AUDIT_CONTENT="1") as (service, _):
        await embed(service)
        await embed(service, model_configuration=own_key())
    assert len(lines(logs)) == 2
    for secret in (OPERATORS, CALLERS, KEY):
        assert secret not in str(lines(logs))
