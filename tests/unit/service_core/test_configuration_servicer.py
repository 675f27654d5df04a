"""What a configuration would come to, and what there is to choose from, over gRPC."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1 import error_reason_pb2, request_context_pb2
from cascada.config.v1 import (
    configuration_service_pb2 as pb,
)
from cascada.config.v1 import (
    configuration_service_pb2_grpc as pb_grpc,
)
from cascada.config.v1 import (
    configuration_source_pb2 as source,
)
from cascada.config.v1 import (
    effective_configuration_pb2,
    model_configuration_pb2,
    model_preferences_pb2,
    model_provider_pb2,
)
from pydantic import SecretStr

from config_core.capabilities import CHAT_OPTIONS, MATRIX
from config_core.connection import Connection
from config_core.convert import provider_to_wire
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshots
from config_core.source import Source
from config_core.sources import environment
from config_core.sources.collection import PinnedSpace
from config_core.space import EmbeddingSpace
from service_core.channel import create_channel
from service_core.circuit import FAILURES_TO_OPEN, Circuits, Passage
from service_core.configuration_servicer import ConfigurationServicer, Pinned
from service_core.interceptors import ErrorInterceptor
from service_core.request_context import Peers
from service_core.server import GrpcServer
from service_core.upstream.errors import UpstreamFailedError
from tests.unit.service_core.running import FromElsewhere, all_of, caught

Wire = model_configuration_pb2.ModelConfiguration
CHAT = effective_configuration_pb2.OPERATION_CHAT
EMBEDDING = effective_configuration_pb2.OPERATION_EMBEDDING
OPENAI = model_provider_pb2.MODEL_PROVIDER_OPENAI
GROQ = model_provider_pb2.MODEL_PROVIDER_GROQ
MISTRAL = model_provider_pb2.MODEL_PROVIDER_MISTRAL
LOCAL = model_provider_pb2.MODEL_PROVIDER_LOCAL
ACME = request_context_pb2.RequestContext(tenant_id="acme")

CANARIES = {
    name: f"canary-{name.lower()}-0123456789"
    for name in ("ENVIRONMENT", "DEFAULTS", "TENANT", "SECRET", "REQUEST", "ALTERNATIVE")
}
DOCUMENT: Mapping[str, Any] = {
    "defaults": {"chat_provider": "openai", "chat_api_key": CANARIES["DEFAULTS"]},
    "tenants": {"acme": {"credentials": {"mistral": {"from": {"env": "TENANTS_KEY"}}}}},
    "endpoints": {
        "corp": {"provider": "openai", "base_url": "https://corp.example/v1", "space": "corps"},
        "bare": {"provider": "groq", "base_url": "https://bare.example"},
        "free": {"provider": "openai", "base_url": "https://free.example/v1", "keyless": True},
    },
    "secrets": {
        "corp-key": {
            "provider": "openai",
            "endpoint": "corp",
            "tenants": ["acme"],
            "from": {"env": "SECRETS_KEY"},
        }
    },
}
ENVIRON = {
    "GROQ_API_KEY": CANARIES["ENVIRONMENT"],
    "TENANTS_KEY": CANARIES["TENANT"],
    "SECRETS_KEY": CANARIES["SECRET"],
}


@asynccontextmanager
async def serving(
    folder: Path,
    document: Mapping[str, Any] = DOCUMENT,
    kinds: Sequence[ConnectionKind] = ("chat", "embedding"),
    pinned: Pinned | None = None,
    peers: Peers | None = None,
    circuits: Circuits | None = None,
) -> AsyncIterator[tuple[pb_grpc.ConfigurationServiceStub, Snapshots]]:
    path = folder / "cascada.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    snapshots = Snapshots(path, environment.read(ENVIRON), LocalSecrets(ENVIRON))
    servicer = ConfigurationServicer(
        snapshots,
        peers or Peers(),
        kinds,
        calls=kinds,
        pinned=pinned,
        circuits=circuits,
        fingerprint_key=SecretStr("the key of the fingerprints"),
    )
    server = GrpcServer("127.0.0.1", 0, interceptors=[ErrorInterceptor()])
    server.add(
        "cascada.config.v1.ConfigurationService",
        pb_grpc.add_ConfigurationServiceServicer_to_server,
        servicer,
    )
    await server.start()
    try:
        async with create_channel(f"127.0.0.1:{server.port}") as channel:
            yield pb_grpc.ConfigurationServiceStub(channel), snapshots
    finally:
        await server.stop(0)


async def resolved(folder: Path, **fields: Any) -> pb.ResolveConfigurationResponse:
    async with serving(folder) as (stub, _):
        return await stub.ResolveConfiguration(pb.ResolveConfigurationRequest(**fields), timeout=20)


async def test_every_operation_of_the_service_is_resolved(tmp_path: Path) -> None:
    response = await resolved(tmp_path)
    assert [entry.operation for entry in response.operations] == [CHAT, EMBEDDING]
    chat, embedding = (entry.effective.values for entry in response.operations)
    assert (chat.chat_provider, embedding.embedding_provider) == (OPENAI, LOCAL)
    assert not response.violations


async def test_only_the_operation_that_is_asked_for_is_resolved(tmp_path: Path) -> None:
    response = await resolved(tmp_path, operation=EMBEDDING)
    assert [entry.operation for entry in response.operations] == [EMBEDDING]


async def test_an_operation_that_the_service_has_no_part_in_is_a_violation(tmp_path: Path) -> None:
    async with serving(tmp_path, kinds=["embedding"]) as (stub, _):
        request = pb.ResolveConfigurationRequest(operation=CHAT)
        response = await stub.ResolveConfiguration(request, timeout=20)
    (violation,) = response.violations
    assert violation.field == "operation"
    assert not response.operations


async def test_each_value_is_shown_with_its_source(tmp_path: Path) -> None:
    response = await resolved(
        tmp_path,
        operation=CHAT,
        model_preferences=model_preferences_pb2.ModelPreferences(provider="GROQ", temperature=0.0),
        model_configuration=Wire(max_tokens=7),
    )
    effective = response.operations[0].effective
    assert (effective.values.chat_provider, effective.values.temperature) == (GROQ, 0.0)
    assert effective.values.HasField("temperature")
    assert effective.sources["chat_provider"] == source.CONFIGURATION_SOURCE_PREFERENCE
    assert effective.sources["max_tokens"] == source.CONFIGURATION_SOURCE_REQUEST
    assert effective.sources["timeout_seconds"] == source.CONFIGURATION_SOURCE_DEFAULT
    assert effective.credential_source == source.CONFIGURATION_SOURCE_ENVIRONMENT


async def test_violations_are_part_of_an_ok_answer_beside_what_could_be_resolved(
    tmp_path: Path,
) -> None:
    response = await resolved(
        tmp_path,
        operation=CHAT,
        model_preferences=model_preferences_pb2.ModelPreferences(provider="acme"),
        model_configuration=Wire(retry_attempts=99, max_tokens=7),
    )
    assert {entry.field for entry in response.violations} == {
        "model_preferences.provider",
        "model_configuration.retry_attempts",
    }
    assert response.operations[0].effective.values.max_tokens == 7


async def test_each_violation_has_the_reason_that_a_request_would_get(tmp_path: Path) -> None:
    response = await resolved(
        tmp_path,
        model_configuration=Wire(retry_attempts=99, embedding_provider=GROQ),
    )
    reasons = {entry.field: entry.reason for entry in response.violations}
    assert reasons == {
        "model_configuration.retry_attempts": error_reason_pb2.ERROR_REASON_INVALID_CONFIGURATION,
        "model_configuration.embedding_provider": (
            error_reason_pb2.ERROR_REASON_CAPABILITY_UNSUPPORTED
        ),
    }


async def test_a_violation_of_both_operations_is_told_once(tmp_path: Path) -> None:
    response = await resolved(tmp_path, model_configuration=Wire(timeout_seconds=-1.0))
    assert len(response.violations) == 1


async def test_a_broken_lock_is_a_violation_that_names_the_rule(tmp_path: Path) -> None:
    document = {"policy": {"locks": {"temperature": 0.5}}}
    async with serving(tmp_path, document) as (stub, _):
        request = pb.ResolveConfigurationRequest(model_configuration=Wire(temperature=1.0))
        response = await stub.ResolveConfiguration(request, timeout=20)
    (violation,) = response.violations
    assert violation.reason == error_reason_pb2.ERROR_REASON_POLICY_VIOLATION
    assert "policy.locks.temperature" in violation.description
    assert response.operations[0].effective.values.temperature == 0.5


async def test_a_context_that_is_invalid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await resolved(tmp_path, context=request_context_pb2.RequestContext(tenant_id="x" * 129))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught(raised.value).violations[0].field == "context.tenant_id"


# --- collections ---------------------------------------------------------------------------------

MISTRALS = PinnedSpace(EmbeddingSpace(ModelProvider.MISTRAL, "mistral-embed", 1024))
OPENAIS = PinnedSpace(EmbeddingSpace(ModelProvider.OPENAI, "text-embedding-3-small", 1536))


async def _two_spaces(
    tenant: str, collections: Sequence[str]
) -> Sequence[tuple[PinnedSpace, Sequence[str]]]:
    assert (tenant, list(collections)) == ("acme", ["a", "b", "c"])
    return [(MISTRALS, ["a", "c"]), (OPENAIS, ["b"])]


COLLECTIONS = pb.ResolveConfigurationRequest(
    context=ACME, collections=["a", "b", "c"], operation=EMBEDDING
)


async def test_embedding_is_resolved_once_for_each_space(tmp_path: Path) -> None:
    async with serving(tmp_path, pinned=_two_spaces) as (stub, _):
        response = await stub.ResolveConfiguration(COLLECTIONS, timeout=20)
    assert [
        (list(entry.collections), entry.effective.values.embedding_provider)
        for entry in response.operations
    ] == [(["a", "c"], MISTRAL), (["b"], OPENAI)]


async def test_collections_are_a_violation_where_they_are_not_known(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stub, _):
        response = await stub.ResolveConfiguration(COLLECTIONS, timeout=20)
    assert [entry.field for entry in response.violations] == ["collections"]


async def test_all_is_resolved_on_one_snapshot(tmp_path: Path) -> None:
    async def changing(
        _: str, collections: Sequence[str]
    ) -> Sequence[tuple[PinnedSpace, Sequence[str]]]:
        path = tmp_path / "cascada.json"
        path.write_text('{"defaults": {"temperature": 1.5}}', encoding="utf-8")
        assert snapshots.reload()
        return [(MISTRALS, collections)]

    async with serving(tmp_path, pinned=changing) as (stub, snapshots):
        request = pb.ResolveConfigurationRequest(collections=["a"])
        response = await stub.ResolveConfiguration(request, timeout=20)
    assert len({entry.effective.snapshot_version for entry in response.operations}) == 1


# --- secrets -------------------------------------------------------------------------------------

FULL = pb.ResolveConfigurationRequest(
    context=ACME,
    model_configuration=Wire(
        chat_provider=GROQ,
        chat_api_key=CANARIES["REQUEST"],
        embedding_provider=MISTRAL,
        fallbacks=model_configuration_pb2.Fallbacks(
            alternatives=[
                model_configuration_pb2.Fallback(provider=OPENAI, api_key=CANARIES["ALTERNATIVE"]),
                model_configuration_pb2.Fallback(endpoint="corp"),
            ]
        ),
    ),
)


async def test_no_secret_and_no_address_is_in_an_effective_configuration(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stub, _):
        text = str(await stub.ResolveConfiguration(FULL, timeout=20))
    for secret in (*CANARIES.values(), "the key of the fingerprints", "corp.example"):
        assert secret not in text


async def test_no_secret_is_in_a_violation(tmp_path: Path) -> None:
    request = pb.ResolveConfigurationRequest(
        model_configuration=Wire(chat_api_key=f"{CANARIES['REQUEST']}\n", chat_secret_ref="?")
    )
    async with serving(tmp_path) as (stub, _):
        response = await stub.ResolveConfiguration(request, timeout=20)
    assert response.violations
    assert CANARIES["REQUEST"] not in str(response)


async def test_no_secret_and_no_address_is_in_the_capabilities(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stub, _):
        request = pb.ListCapabilitiesRequest(context=ACME)
        text = str(await stub.ListCapabilities(request, timeout=20))
    for secret in (*CANARIES.values(), "example"):
        assert secret not in text


async def test_a_raw_key_does_not_enter_unencrypted_from_elsewhere(tmp_path: Path) -> None:
    async with serving(tmp_path, peers=FromElsewhere()) as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ResolveConfiguration(FULL, timeout=20)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert CANARIES["REQUEST"] not in all_of(raised.value)


# --- capabilities --------------------------------------------------------------------------------


async def capabilities(
    folder: Path, tenant: str = "", document: Mapping[str, Any] = DOCUMENT
) -> pb.ListCapabilitiesResponse:
    context = request_context_pb2.RequestContext(tenant_id=tenant)
    async with serving(folder, document) as (stub, _):
        return await stub.ListCapabilities(pb.ListCapabilitiesRequest(context=context), timeout=20)


async def test_every_provider_of_the_matrix_is_listed_with_what_it_can(tmp_path: Path) -> None:
    rows = {row.provider: row for row in (await capabilities(tmp_path)).providers}
    assert set(rows) == {provider_to_wire(provider) for provider in MATRIX}
    assert list(rows[GROQ].operations) == [CHAT]
    assert rows[GROQ].default_embedding_model == ""
    assert list(rows[OPENAI].operations) == [CHAT, EMBEDDING]
    assert list(rows[OPENAI].chat_options) == list(CHAT_OPTIONS)
    assert "presence_penalty" not in rows[GROQ].chat_options
    assert "reasoning_effort" in rows[OPENAI].provider_options
    models = {entry.model: entry for entry in rows[OPENAI].embedding_models}
    assert models["text-embedding-3-large"].dimensions == 3072
    assert models["text-embedding-3-large"].settable_dimensions
    assert not models["text-embedding-ada-002"].settable_dimensions


async def test_whether_a_provider_has_a_key_is_shown_for_the_tenant_that_asks(
    tmp_path: Path,
) -> None:
    anyone = {row.provider: row.credential for row in (await capabilities(tmp_path)).providers}
    acme = {
        row.provider: row.credential for row in (await capabilities(tmp_path, "acme")).providers
    }
    assert anyone == {
        OPENAI: pb.CONFIGURATION_CREDENTIAL_PRESENT,
        GROQ: pb.CONFIGURATION_CREDENTIAL_PRESENT,
        MISTRAL: pb.CONFIGURATION_CREDENTIAL_MISSING,
        LOCAL: pb.CONFIGURATION_CREDENTIAL_NOT_NEEDED,
    }
    assert acme[MISTRAL] == pb.CONFIGURATION_CREDENTIAL_PRESENT


async def test_endpoints_are_listed_by_name_with_their_space(tmp_path: Path) -> None:
    endpoints = {row.name: row for row in (await capabilities(tmp_path)).endpoints}
    assert {name: row.space for name, row in endpoints.items()} == {
        "corp": "corps",
        "bare": "bare",
        "free": "free",
    }
    assert (endpoints["corp"].provider, endpoints["bare"].provider) == (OPENAI, GROQ)


async def test_whether_an_endpoint_has_a_key_is_shown_for_the_tenant_that_asks(
    tmp_path: Path,
) -> None:
    anyone = {row.name: row.credential for row in (await capabilities(tmp_path)).endpoints}
    acme = {row.name: row.credential for row in (await capabilities(tmp_path, "acme")).endpoints}
    assert anyone == {
        "corp": pb.CONFIGURATION_CREDENTIAL_MISSING,
        "bare": pb.CONFIGURATION_CREDENTIAL_MISSING,
        "free": pb.CONFIGURATION_CREDENTIAL_NOT_NEEDED,
    }
    assert acme["corp"] == pb.CONFIGURATION_CREDENTIAL_PRESENT


async def test_what_the_policy_of_the_tenant_forbids_is_not_listed(tmp_path: Path) -> None:
    embeddings = {"openai": {"embedding": ["text-embedding-3-*"]}}
    policy = {"providers": ["openai", "groq"], "endpoints": ["free", "bare"], "models": embeddings}
    own = {"policy": {"providers": ["openai", "mistral"]}}
    document = {**DOCUMENT, "policy": policy, "tenants": {"acme": own}}

    async def listed(tenant: str) -> tuple[set[Any], set[str], set[str]]:
        found = await capabilities(tmp_path, tenant, document)
        models = {model.model for row in found.providers for model in row.embedding_models}
        providers = {row.provider for row in found.providers}
        return providers, {row.name for row in found.endpoints}, models

    allowed = {"text-embedding-3-small", "text-embedding-3-large"}
    assert await listed("") == ({OPENAI, GROQ}, {"free", "bare"}, allowed)
    assert await listed("acme") == ({OPENAI}, {"free"}, allowed)


def _called(circuits: Circuits, endpoint: str, *, fails: bool) -> None:
    connection = Connection(
        provider=ModelProvider.OPENAI,
        endpoint=endpoint,
        base_url="http://x/v1",
        private=False,
        source=Source.FILE,
        keyless=True,
    )
    for _ in range(FAILURES_TO_OPEN):
        passage = circuits.enter(connection)
        assert isinstance(passage, Passage)
        passage.leave(UpstreamFailedError(ModelProvider.OPENAI, "Down.") if fails else None)


async def test_where_only_own_keys_count_the_operators_is_no_key_for_the_tenant(
    tmp_path: Path,
) -> None:
    document = {**DOCUMENT, "policy": {"own_keys": "required"}}
    found = await capabilities(tmp_path, "acme", document)
    assert {row.provider: row.credential for row in found.providers} == {
        OPENAI: pb.CONFIGURATION_CREDENTIAL_MISSING,
        GROQ: pb.CONFIGURATION_CREDENTIAL_MISSING,
        MISTRAL: pb.CONFIGURATION_CREDENTIAL_PRESENT,
        LOCAL: pb.CONFIGURATION_CREDENTIAL_NOT_NEEDED,
    }


async def test_circuits_are_shown_of_what_this_service_has_called(tmp_path: Path) -> None:
    circuits = Circuits()
    _called(circuits, "", fails=False)
    _called(circuits, "free", fails=True)
    async with serving(tmp_path, circuits=circuits) as (stub, _):
        response = await stub.ListCapabilities(pb.ListCapabilitiesRequest(), timeout=20)
    assert {row.provider: row.circuit for row in response.providers} == {
        OPENAI: pb.CIRCUIT_STATE_CLOSED,
        GROQ: pb.CIRCUIT_STATE_UNSPECIFIED,
        MISTRAL: pb.CIRCUIT_STATE_UNSPECIFIED,
        LOCAL: pb.CIRCUIT_STATE_UNSPECIFIED,
    }
    assert {row.name: row.circuit for row in response.endpoints} == {
        "corp": pb.CIRCUIT_STATE_UNSPECIFIED,
        "bare": pb.CIRCUIT_STATE_UNSPECIFIED,
        "free": pb.CIRCUIT_STATE_OPEN,
    }


async def test_an_endpoint_named_like_its_provider_is_the_providers_own_service(
    tmp_path: Path,
) -> None:
    endpoint = {"provider": "openai", "base_url": "https://own.example/v1", "keyless": True}
    circuits = Circuits()
    _called(circuits, "", fails=True)
    async with serving(tmp_path, {"endpoints": {"openai": endpoint}}, circuits=circuits) as (
        stub,
        _,
    ):
        response = await stub.ListCapabilities(pb.ListCapabilitiesRequest(), timeout=20)
    (row,) = response.endpoints
    assert row.credential == pb.CONFIGURATION_CREDENTIAL_NOT_NEEDED
    assert row.circuit == pb.CIRCUIT_STATE_OPEN


async def test_a_missing_key_is_a_violation_where_the_provider_is_called(tmp_path: Path) -> None:
    configuration = Wire(chat_provider=model_provider_pb2.MODEL_PROVIDER_MISTRAL)
    answer = await resolved(tmp_path, model_configuration=configuration)
    reasons = [found.reason for found in answer.violations]
    assert error_reason_pb2.ERROR_REASON_CREDENTIAL_MISSING in reasons
