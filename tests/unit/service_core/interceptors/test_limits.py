"""Limits as callers meet them: a real server, calls of every kind, and a real provider behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1 import request_context_pb2
from cascada.embedding.v1 import embedding_service_pb2 as pb
from cascada.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2

import embedding.app
from config_core.errors import Reason
from config_core.identity import Role
from config_core.model_configuration import ModelProvider
from service_core.hop import MARK
from service_core.identity.caller import Caller
from service_core.interceptors import (
    Call,
    ErrorInterceptor,
    HandlerInterceptor,
    LimitsInterceptor,
    Proceed,
)
from service_core.limits import Limiter, MemoryLimits
from service_core.process import configure
from tests.servers.valkey import ValkeyServer
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    Message,
    call,
    failure,
    health,
    raising,
    serving,
    text,
)
from tests.unit.service_core.running import PORTS, Running, caught, running
from tests.upstream.behaviours import Answer, Silence, Status
from tests.upstream.server import UpstreamServer

OPENAI = ModelProvider.OPENAI
ACME = request_context_pb2.RequestContext(tenant_id="acme")


def of_tenant(tenant: str, *texts: str) -> Message:
    return Message(context=request_context_pb2.RequestContext(tenant_id=tenant), texts=texts)


class As(HandlerInterceptor):
    """Has every call come from one identity."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def around(self, call: Call, proceed: Proceed) -> Any:
        call.caller = self._caller
        return await proceed()


def layers(
    folder: Path, document: Mapping[str, Any], *others: HandlerInterceptor
) -> Sequence[HandlerInterceptor]:
    path = folder / "cascada.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    _, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path)})
    limits = LimitsInterceptor(snapshots, Limiter(MemoryLimits()))
    return [ErrorInterceptor(), *others, limits]


async def answering(_: Context) -> AsyncIterator[Message]:
    yield text("answer")


def limited(**limits: int) -> dict[str, Any]:
    return {"policy": {"limits": limits}}


# --- Requests


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_every_kind_are_counted_by_tenant(kind: str, tmp_path: Path) -> None:
    async with serving(answering, layers(tmp_path, limited(requests_per_minute=2))) as channel:
        for _ in range(2):
            await call(channel, kind, of_tenant("acme"))
        error = await failure(channel, kind, of_tenant("acme"))
        await call(channel, kind, of_tenant("other"))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    found = caught(error)
    assert found.code_reason is Reason.LIMIT_EXCEEDED
    assert found.metadata == {"limit": "requests_per_minute"}
    assert found.retry_after is not None
    assert 0 < found.retry_after <= 60.2


async def test_a_tenants_limit_replaces_the_one_for_everyone(tmp_path: Path) -> None:
    document = limited(requests_per_minute=1)
    document["tenants"] = {"acme": {"policy": {"limits": {"requests_per_minute": 3}}}}
    async with serving(answering, layers(tmp_path, document)) as channel:
        for _ in range(3):
            await call(channel, "UnaryUnary", of_tenant("acme"))
        await failure(channel, "UnaryUnary", of_tenant("acme"))
        await call(channel, "UnaryUnary", of_tenant("other"))
        await failure(channel, "UnaryUnary", of_tenant("other"))


async def test_calls_without_a_tenant_count_for_that_of_the_identity(tmp_path: Path) -> None:
    web = As(Caller("token web", "acme", frozenset({Role.CALLER})))
    document = limited(requests_per_minute=1)
    async with serving(answering, layers(tmp_path, document, web)) as channel:
        await call(channel, "UnaryUnary", of_tenant(""))
        await failure(channel, "UnaryUnary", of_tenant("acme"))


@pytest.mark.parametrize(
    ("roles", "counted"),
    [({Role.SERVICE}, False), ({Role.CALLER}, True), (None, False)],
    ids=["a service", "a caller", "this machine"],
)
async def test_only_from_those_who_are_believed_a_call_of_a_request_inside_is_not_counted(
    roles: set[Role] | None, tmp_path: Path, *, counted: bool
) -> None:
    others = [] if roles is None else [As(Caller("token x", "acme", frozenset(roles)))]
    method = f"/{SERVICE}/UnaryUnary"
    document = limited(requests_per_minute=1, concurrent_requests=1)
    async with serving(answering, layers(tmp_path, document, *others)) as channel:
        asking: Any = channel.unary_unary(method, request_serializer=Message.SerializeToString)

        async def ask() -> grpc.StatusCode:
            try:
                await asking(of_tenant("acme"), metadata=MARK, timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        codes = [await ask() for _ in range(3)]
        # Without the mark even a service is one who asks.
        await (failure if counted else call)(channel, "UnaryUnary", of_tenant("acme"))
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert codes[1:] == [exhausted if counted else grpc.StatusCode.OK] * 2


async def test_health_is_not_counted(tmp_path: Path) -> None:
    async with serving(answering, layers(tmp_path, limited(requests_per_minute=1))) as channel:
        for _ in range(3):
            await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)


# --- Requests at the same time


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_holds_its_place_until_it_ends(kind: str, tmp_path: Path) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def waiting(_: Context) -> AsyncIterator[Message]:
        entered.set()
        await leave.wait()
        yield text("answer")

    document = limited(concurrent_requests=1)
    async with serving(waiting, layers(tmp_path, document)) as channel:
        first = asyncio.create_task(call(channel, kind, of_tenant("acme")))
        await entered.wait()
        error = caught(await failure(channel, kind, of_tenant("acme")))
        leave.set()
        await first
        await call(channel, kind, of_tenant("acme"))
    assert error.metadata == {"limit": "concurrent_requests"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_fails_or_is_cancelled_gives_its_place_back(
    kind: str, tmp_path: Path
) -> None:
    entered = asyncio.Event()
    hang = True

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        entered.set()
        if hang:
            await asyncio.Event().wait()
        yield text("answer")
        raise ValueError

    document = limited(concurrent_requests=1)
    async with serving(behaviour, layers(tmp_path, document)) as channel:
        for _ in range(3):
            entered.clear()
            running_call = asyncio.create_task(call(channel, kind, of_tenant("acme")))
            await entered.wait()
            running_call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running_call
            await _until_free(channel, kind)
        hang = False


async def _until_free(channel: grpc.aio.Channel, kind: str) -> None:
    """Wait until the server has noticed: a cancellation is on its way for a moment."""
    async with asyncio.timeout(20):
        while True:
            stream = asyncio.create_task(call(channel, kind, of_tenant("acme")))
            done, _ = await asyncio.wait([stream], timeout=0.1)
            if not done:  # it runs, and so was let in
                stream.cancel()
                await asyncio.wait([stream])
                return
            assert isinstance(stream.exception(), grpc.aio.AioRpcError)


async def test_a_fault_gives_its_place_back(tmp_path: Path) -> None:
    document = limited(concurrent_requests=1)
    async with serving(raising(ValueError), layers(tmp_path, document)) as channel:
        for _ in range(3):
            error = await failure(channel, "UnaryUnary", of_tenant("acme"))
            assert error.code() is grpc.StatusCode.INTERNAL


# --- Tokens


@asynccontextmanager
async def embeddings(
    folder: Path, document: Mapping[str, Any], **environ: str
) -> AsyncIterator[tuple[Running, UpstreamServer]]:
    """The embedding service; its provider counts five tokens a call."""
    path = folder / "cascada.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    async with UpstreamServer() as upstream:
        variables = {
            "OPENAI_API_KEY": "sk-operators-0123456789",
            "OPENAI_BASE_URL": upstream.url(OPENAI),
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_MODEL": "some-model",
            "CASCADA_RETRY_ATTEMPTS": "0",
            "CASCADA_CONFIG_FILE": str(path),
            **environ,
        }
        async with running(embedding.app.build, variables) as service:
            yield service, upstream


async def embed(
    service: Running, *, text: str = "word", seconds: float = 20, **more: Any
) -> grpc.StatusCode:
    stub = pb_grpc.EmbeddingServiceStub(service.channel)
    request = pb.EmbedRequest(texts=[text], context=ACME)
    try:
        await stub.Embed(request, timeout=seconds, **more)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_the_tokens_that_a_provider_reports_are_counted(tmp_path: Path) -> None:
    """Five each; until they are known, a text of 300 bytes is taken for 105."""
    async with embeddings(tmp_path, limited(tokens_per_minute=150)) as (service, _):
        codes = [await embed(service, text="word " * 60) for _ in range(12)]
    assert codes == [grpc.StatusCode.OK] * 10 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2


async def test_tokens_count_where_a_provider_is_called_for_a_request_inside_too(
    tmp_path: Path,
) -> None:
    async with embeddings(tmp_path, limited(tokens_per_minute=20)) as (service, _):
        codes = [await embed(service, metadata=MARK) for _ in range(5)]
    assert codes == [grpc.StatusCode.OK] * 4 + [grpc.StatusCode.RESOURCE_EXHAUSTED]


async def test_a_call_that_a_provider_refused_has_used_nothing(tmp_path: Path) -> None:
    async with embeddings(tmp_path, limited(tokens_per_minute=10)) as (service, upstream):
        upstream.script(*[Status(400)] * 10)
        codes = [await embed(service) for _ in range(10)]
        assert set(codes) == {grpc.StatusCode.FAILED_PRECONDITION}
        assert await embed(service) is grpc.StatusCode.OK


async def test_a_call_that_is_given_up_counts_as_it_was_estimated(tmp_path: Path) -> None:
    async with embeddings(tmp_path, limited(tokens_per_minute=10)) as (service, upstream):
        upstream.script(Silence())
        assert await embed(service, seconds=0.3) is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(20):
            while await embed(service) is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                pass
        # The estimate of one and the use of at most one fit into the limit.
        assert len(upstream.requests) <= 2


async def test_many_callers_at_once_do_not_exceed_the_tokens(tmp_path: Path) -> None:
    document = limited(tokens_per_minute=1000)
    async with embeddings(tmp_path, document) as (service, upstream):
        upstream.default = Answer(delay=0.002)

        async def caller() -> int:
            codes = [await embed(service) for _ in range(40)]
            return codes.count(grpc.StatusCode.OK)

        # While calls run, what they are estimated to use is more than what they do.
        async with asyncio.timeout(60):
            answered = 0
            while (more := sum(await asyncio.gather(*(caller() for _ in range(10))))) > 0:
                answered += more
    assert answered * 5 <= 1000
    assert answered * 5 >= 990


# --- Hot, and shared


async def test_a_limit_that_changes_in_the_file_holds_for_the_next_request(tmp_path: Path) -> None:
    async with embeddings(tmp_path, limited(requests_per_minute=1)) as (service, _):
        assert await embed(service) is grpc.StatusCode.OK
        assert await embed(service) is grpc.StatusCode.RESOURCE_EXHAUSTED
        (tmp_path / "cascada.json").write_text(json.dumps(limited(requests_per_minute=2)))
        service.snapshots.reload()
        assert await embed(service) is grpc.StatusCode.OK
        assert await embed(service) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_services_of_several_processes_count_together(tmp_path: Path) -> None:
    with ValkeyServer() as server:
        document = limited(requests_per_minute=3)
        shared = {"CASCADA_LIMITS_URL": server.url}
        async with (
            embeddings(tmp_path, document, **shared) as (one, _),
            embeddings(tmp_path, document, **shared) as (other, _),
        ):
            codes = [await embed(service) for service in (one, other, one, other, one)]
    assert codes == [grpc.StatusCode.OK] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2


@pytest.mark.parametrize(
    ("on_failure", "code"),
    [("open", grpc.StatusCode.OK), ("closed", grpc.StatusCode.RESOURCE_EXHAUSTED)],
)
async def test_without_the_shared_counts_requests_fare_as_the_operator_says(
    on_failure: str, code: grpc.StatusCode, tmp_path: Path
) -> None:
    away = {
        "CASCADA_LIMITS_URL": "redis://127.0.0.1:9/0",
        "CASCADA_LIMITS_ON_FAILURE": on_failure,
    }
    async with embeddings(tmp_path, limited(requests_per_minute=1), **away) as (service, _):
        assert [await embed(service) for _ in range(3)] == [code] * 3


async def test_what_is_not_limited_does_not_need_them(tmp_path: Path) -> None:
    away = {"CASCADA_LIMITS_URL": "redis://127.0.0.1:9/0", "CASCADA_LIMITS_ON_FAILURE": "closed"}
    others = {"tenants": {"other": limited(requests_per_minute=1)}}
    async with embeddings(tmp_path, others, **away) as (service, _):
        assert await embed(service) is grpc.StatusCode.OK
