from collections.abc import Callable
from typing import Any

import grpc
import pytest
from cascada.config.v1 import configuration_trace_pb2 as trace

from config_core.effective import EffectiveConfiguration
from config_core.errors import (
    CascadaError,
    CollectionNotFoundError,
    PermissionDeniedError,
    Reason,
    RemoteError,
    UnauthenticatedError,
)
from config_core.forward import Forwarded, forward
from service_core.client import NextService
from service_core.interceptors import ErrorInterceptor
from tests.unit.config_core.support import chat, embedding, snapshot
from tests.unit.service_core.probe import call, raising, serving

CANARY = "canary-0123456789"
LOCAL, REMOTE = "127.0.0.1:50052", "query.example:50052"


def asked(**values: Any) -> EffectiveConfiguration:
    return chat(snapshot({}, {"GROQ_API_KEY": CANARY}), values)


OWN_KEY = forward([asked(chat_provider="groq", chat_api_key=CANARY)])
OWN_EMBEDDING_KEY = forward(
    [embedding(snapshot(), {"embedding_provider": "openai", "embedding_api_key": CANARY})]
)
ATTACHED = forward([asked(chat_provider="groq")], attach_credentials=True)
ALTERNATIVES_KEY = forward(
    [asked(fallbacks={"alternatives": ({"provider": "groq", "api_key": CANARY},)})]
)
KEYLESS = forward([asked(chat_provider="groq", temperature=0.0)])


@pytest.mark.parametrize("forwarded", [OWN_KEY, OWN_EMBEDDING_KEY, ATTACHED, ALTERNATIVES_KEY])
def test_a_raw_key_does_not_travel_unencrypted_to_another_host(forwarded: Forwarded) -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        NextService("query", REMOTE).pack(forwarded)
    assert CANARY not in str(caught.value)
    assert REMOTE in caught.value.message


@pytest.mark.parametrize(
    "service",
    [
        NextService("query", LOCAL),
        NextService("query", "unix:/run/query"),
        NextService("query", REMOTE, tls=True),
        NextService("query", REMOTE, allow_insecure=True),
    ],
    ids=["loopback", "unix", "tls", "insecure"],
)
def test_a_raw_key_travels_where_it_may(service: NextService) -> None:
    configuration, _ = service.pack(OWN_KEY)
    assert configuration.chat_api_key == CANARY
    _, provenance = service.pack(ATTACHED)
    assert [connection.api_key for connection in provenance.connections] == [CANARY]


def test_without_a_key_it_travels_anywhere() -> None:
    configuration, provenance = NextService("query", REMOTE).pack(KEYLESS)
    assert configuration.HasField("temperature")
    assert not provenance.connections


def _not_found() -> CollectionNotFoundError:
    error = CollectionNotFoundError("handbook")
    error.hops = (trace.HopReport(service="query"),)
    return error


async def test_an_error_of_the_next_service_is_rebuilt_with_its_hops() -> None:
    async with serving(raising(_not_found), [ErrorInterceptor()]) as channel:
        with pytest.raises(RemoteError) as caught:
            async with NextService("query", LOCAL).errors():
                await call(channel, "UnaryUnary")
    assert caught.value.code_reason is Reason.COLLECTION_NOT_FOUND
    assert caught.value.metadata == {"collection": "handbook"}
    assert caught.value.hops == (trace.HopReport(service="query"),)


async def test_nothing_of_the_transports_error_hangs_on() -> None:
    async with serving(raising(_not_found), [ErrorInterceptor()]) as channel:
        with pytest.raises(RemoteError) as caught:
            async with NextService("query", LOCAL).errors():
                await call(channel, "UnaryStream")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_service_that_is_not_there_is_named_with_its_target() -> None:
    nowhere = NextService("query", "127.0.0.1:9")
    async with grpc.aio.insecure_channel(nowhere.target) as channel:
        with pytest.raises(RemoteError) as caught:
            async with nowhere.errors():
                await call(channel, "UnaryUnary")
    assert caught.value.code_reason is Reason.UPSTREAM_FAILED
    assert "query service" in caught.value.message
    assert nowhere.target in caught.value.message


async def test_another_error_passes_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with NextService("query", LOCAL).errors():
            raise KeyError("ours")


@pytest.mark.parametrize(
    "refusal",
    [
        UnauthenticatedError,
        lambda: PermissionDeniedError("It takes a role.", metadata={"roles": "caller"}),
    ],
)
async def test_a_refusal_of_this_services_identity_is_not_told_as_the_callers(
    refusal: Callable[[], CascadaError],
) -> None:
    async with serving(raising(refusal), [ErrorInterceptor()]) as channel:
        with pytest.raises(RemoteError) as caught:
            async with NextService("query", LOCAL).errors():
                await call(channel, "UnaryUnary")
    assert caught.value.code_reason is Reason.INTERNAL
    assert "query service refuses the identity" in caught.value.message


async def test_a_refusal_of_what_the_caller_wants_is_passed_on() -> None:
    behaviour = raising(lambda: PermissionDeniedError("A raw key does not enter."))
    async with serving(behaviour, [ErrorInterceptor()]) as channel:
        with pytest.raises(RemoteError) as caught:
            async with NextService("query", LOCAL).errors():
                await call(channel, "UnaryUnary")
    assert caught.value.code_reason is Reason.PERMISSION_DENIED
