"""Which keys leave agent execution, and for where."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.common.v1 import request_context_pb2, retrieval_pb2
from cascada.config.v1 import configuration_source_pb2 as source
from cascada.config.v1 import model_configuration_pb2, provenance_pb2

from config_core.connection import PUBLIC_BASE_URL
from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from config_core.sources.collection import PinnedSpace
from config_core.space import EmbeddingSpace
from tests.unit.agent_execution.fake_query import GROQ, MISTRAL, OPENAI, Wire, World, serving
from tests.unit.service_core.running import FromElsewhere, all_of, caught, hops_of

KEYS = {
    "OPENAI_API_KEY": "operators-openai-0123456789",
    "GROQ_API_KEY": "operators-groq-0123456789",
    "MISTRAL_API_KEY": "operators-mistral-0123456789",
}
ATTACH = {**KEYS, "CASCADA_FORWARD_CREDENTIALS": "1"}
REMOTE = "192.0.2.1:50052"
"""An address that is reserved for documentation; nothing is ever sent there."""

HANDBOOK = PinnedSpace(EmbeddingSpace(ModelProvider.MISTRAL, "mistral-embed", 1024))
ARCHIVE = PinnedSpace(EmbeddingSpace(ModelProvider.OPENAI, "text-embedding-3-small", 1536))
BOTH = retrieval_pb2.Retrieval(collections=["handbook", "archive"])


def keys_of(provenance: provenance_pb2.Provenance) -> dict[int, str]:
    """Each forwarded connection's key by its provider."""
    return {sent.provider: sent.api_key for sent in provenance.connections}


async def test_no_connection_is_forwarded_unless_the_operator_says_so() -> None:
    async with serving(KEYS) as world:
        sent = await world.sent(model_configuration=Wire(chat_provider=GROQ), retrieval=BOTH)
        assert not sent.provenance.connections
        assert world.query.lookups == []
    assert all(key not in str(sent) for key in KEYS.values())


async def test_the_connection_of_chat_is_forwarded_whole_and_no_other() -> None:
    async with serving(ATTACH) as world:
        sent = await world.sent(model_configuration=Wire(chat_provider=GROQ))
    (connection,) = sent.provenance.connections
    assert (connection.provider, connection.endpoint) == (GROQ, "")
    assert connection.base_url == PUBLIC_BASE_URL[ModelProvider.GROQ]
    assert connection.api_key == KEYS["GROQ_API_KEY"]
    assert connection.source == source.CONFIGURATION_SOURCE_ENVIRONMENT
    assert not sent.model_configuration.HasField("chat_api_key")


async def test_the_address_of_an_environments_connection_goes_with_its_key() -> None:
    base = "http://127.0.0.1:9/openai/v1"
    async with serving({**ATTACH, "OPENAI_BASE_URL": base}) as world:
        sent = await world.sent(model_configuration=Wire(chat_provider=OPENAI))
    (connection,) = sent.provenance.connections
    assert (connection.base_url, connection.private) == (base, True)
    assert connection.api_key == KEYS["OPENAI_API_KEY"]


async def test_the_local_provider_needs_no_connection() -> None:
    async with serving(ATTACH) as world:
        assert not (await world.sent()).provenance.connections


async def test_a_request_with_its_own_key_gets_no_key_of_the_operator() -> None:
    async with serving(ATTACH) as world:
        own = Wire(chat_provider=GROQ, chat_api_key="the-callers-own")
        sent = await world.sent(model_configuration=own)
    assert not any(connection.HasField("api_key") for connection in sent.provenance.connections)
    assert all(key not in str(sent) for key in KEYS.values())


async def test_alternatives_that_may_be_called_are_forwarded_too() -> None:
    fallbacks = model_configuration_pb2.Fallbacks(
        alternatives=[model_configuration_pb2.Fallback(provider=MISTRAL)]
    )
    async with serving(ATTACH) as world:
        sent = await world.sent(model_configuration=Wire(chat_provider=GROQ, fallbacks=fallbacks))
    assert keys_of(sent.provenance) == {
        GROQ: KEYS["GROQ_API_KEY"],
        MISTRAL: KEYS["MISTRAL_API_KEY"],
    }


async def test_the_connections_of_the_collections_spaces_are_forwarded() -> None:
    async with serving(ATTACH) as world:
        world.query.spaces = {"handbook": HANDBOOK, "archive": ARCHIVE}
        sent = await world.sent(
            model_configuration=Wire(chat_provider=GROQ),
            retrieval=BOTH,
            context=request_context_pb2.RequestContext(tenant_id="acme"),
        )
        lookups = {(lookup.collection, lookup.context.tenant_id) for lookup in world.query.lookups}
    assert lookups == {("handbook", "acme"), ("archive", "acme")}
    assert keys_of(sent.provenance) == {
        GROQ: KEYS["GROQ_API_KEY"],
        MISTRAL: KEYS["MISTRAL_API_KEY"],
        OPENAI: KEYS["OPENAI_API_KEY"],
    }


async def test_an_embedding_connection_that_no_collection_lives_in_is_not_forwarded() -> None:
    async with serving({**ATTACH, "CASCADA_EMBEDDING_PROVIDER": "openai"}) as world:
        world.query.spaces = {"handbook": HANDBOOK}
        handbook = retrieval_pb2.Retrieval(collections=["handbook"])
        sent = await world.sent(retrieval=handbook)
    assert keys_of(sent.provenance) == {MISTRAL: KEYS["MISTRAL_API_KEY"]}


async def test_the_connection_of_a_space_that_is_not_allowed_is_not_forwarded(
    tmp_path: Path,
) -> None:
    document = {"policy": {"providers": ["openai", "local"]}}
    async with serving(ATTACH, document=document, folder=tmp_path) as world:
        world.query.spaces = {"handbook": HANDBOOK, "archive": ARCHIVE}
        sent = await world.sent(retrieval=BOTH)
    assert keys_of(sent.provenance) == {OPENAI: KEYS["OPENAI_API_KEY"]}


async def test_a_connection_that_chat_and_a_collection_share_is_not_forwarded_twice() -> None:
    async with serving(ATTACH) as world:
        world.query.spaces = {"archive": ARCHIVE}
        sent = await world.sent(
            model_configuration=Wire(chat_provider=OPENAI),
            retrieval=retrieval_pb2.Retrieval(collections=["archive"]),
        )
    connections = [entry.SerializeToString() for entry in sent.provenance.connections]
    assert keys_of(sent.provenance) == {OPENAI: KEYS["OPENAI_API_KEY"]}
    assert len(connections) == len(set(connections))


async def test_a_collections_space_is_never_forwarded_as_a_value() -> None:
    async with serving(ATTACH) as world:
        world.query.spaces = {"handbook": HANDBOOK, "archive": ARCHIVE}
        sent = await world.sent(retrieval=BOTH)
    assert sent.model_configuration == Wire()
    assert not sent.provenance.layers


async def test_each_collection_is_looked_up_once() -> None:
    async with serving(ATTACH) as world:
        world.query.spaces = {"handbook": HANDBOOK}
        twice = retrieval_pb2.Retrieval(collections=["handbook", "handbook"])
        await world.execute(retrieval=twice)
        assert len(world.query.lookups) == 1


async def test_a_collection_that_does_not_exist_is_told_with_the_report_of_this_hop() -> None:
    async with serving(ATTACH) as world:
        error = await world.failure(retrieval=BOTH)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert caught(error).code_reason is Reason.COLLECTION_NOT_FOUND
        assert [hop.service for hop in hops_of(error)] == ["agent-execution"]
        assert world.query.requests == []


async def test_a_registered_endpoint_is_forwarded_with_exactly_its_own_secret(
    tmp_path: Path,
) -> None:
    document: dict[str, Any] = {
        "endpoints": {"corp": {"provider": "openai", "base_url": "https://corp.example/v1"}},
        "secrets": {
            "corp-key": {
                "provider": "openai",
                "endpoint": "corp",
                "tenants": ["acme"],
                "from": {"env": "CORP_KEY"},
            }
        },
    }
    environ = {**ATTACH, "CORP_KEY": "corps-own-0123456789"}
    async with serving(environ, document=document, folder=tmp_path) as world:
        request = {"model_configuration": Wire(chat_endpoint="corp")}
        acme = request_context_pb2.RequestContext(tenant_id="acme")
        sent = await world.sent(context=acme, **request)
        other = await world.sent(**request)
    (connection,) = sent.provenance.connections
    assert (connection.endpoint, connection.base_url, connection.api_key) == (
        "corp",
        "https://corp.example/v1",
        "corps-own-0123456789",
    )
    assert not other.provenance.connections, "the secret is not registered for this tenant"


async def failure_towards(target: str, environ: dict[str, str], **fields: Any) -> Any:
    async with serving(environ, target=target) as world:
        return await world.failure(**fields)


async def test_the_operators_key_does_not_leave_over_an_unencrypted_connection() -> None:
    error = await failure_towards(REMOTE, ATTACH, model_configuration=Wire(chat_provider=GROQ))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "CASCADA_ALLOW_INSECURE" in caught(error).message
    assert KEYS["GROQ_API_KEY"] not in all_of(error)


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_a_callers_key_does_not_leave_over_an_unencrypted_connection(
    *, streamed: bool
) -> None:
    own = Wire(chat_provider=GROQ, chat_api_key="the-callers-own")
    async with serving(target=REMOTE) as world:
        error = await _refused(world, own, streamed=streamed)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert [hop.service for hop in hops_of(error)] == ["agent-execution"]
    assert "the-callers-own" not in all_of(error)


async def _refused(world: World, own: Wire, *, streamed: bool) -> grpc.aio.AioRpcError:
    if not streamed:
        return await world.failure(model_configuration=own)
    request = pb.StreamExecuteRequest(message="hola", model_configuration=own)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(world.stub.StreamExecute(request, timeout=20)))
    return raised.value


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_a_raw_key_does_not_enter_unencrypted_from_elsewhere(*, streamed: bool) -> None:
    own = Wire(chat_provider=GROQ, chat_api_key="the-callers-own")
    async with serving(peers=FromElsewhere()) as world:
        error = await _refused(world, own, streamed=streamed)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert world.query.requests == []
    assert "the-callers-own" not in all_of(error)
