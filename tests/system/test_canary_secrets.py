"""A secret is found nowhere but at the provider that it belongs to."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.config.v1 import (
    configuration_service_pb2,
    configuration_source_pb2,
    effective_configuration_pb2,
    model_configuration_pb2,
    provenance_pb2,
)
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub
from cascada.embedding.v1 import embedding_service_pb2
from cascada.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from cascada.query.v1 import query_service_pb2

from config_core.model_configuration import ModelProvider
from tests.system.asking import TEXTS, index, searched
from tests.system.canaries import Canaries
from tests.system.canary_scene import (
    BELONGS,
    GROQ,
    MISTRAL,
    OPENAI,
    Configuration,
    Scene,
    scene,
)
from tests.system.cluster import SERVICES, Cluster
from tests.system.echoing import ECHOES
from tests.system.waiting import until
from tests.upstream.formats import NATIVE_DIMENSIONS

__all__ = ["scene"]


async def test_a_secret_is_found_nowhere_but_at_its_own_provider(
    scene: Scene, tmp_path: Path
) -> None:
    await chats(scene)
    await embeddings(scene)
    await what_is_sent_along(scene)
    await refused_requests(scene)
    await changed_files(scene, tmp_path / "operator" / "cascada.json")
    assert scene.arrived() == {name: {place} for name, place in BELONGS.items()}
    await asyncio.gather(*(program.stop() for program in scene.cluster.programs))
    assert scene.canaries.saw_files(scene.cluster.folder) >= 2 * len(SERVICES) + 1
    assert scene.canaries.leaks() == []


async def chats(scene: Scene) -> None:
    """Chat with every kind of key."""
    canaries = scene.canaries
    own = canaries["request-chat"]
    await scene.chat(chat_provider=OPENAI, chat_api_key=own, echoes=ECHOES)
    await scene.chat(
        chat_provider=OPENAI,
        chat_api_key=own,
        fallbacks=model_configuration_pb2.Fallbacks(
            alternatives=[
                model_configuration_pb2.Fallback(
                    provider=GROQ, api_key=canaries["request-fallback"]
                )
            ]
        ),
    )
    await scene.chat()
    await scene.chat(chat_provider=MISTRAL, echoes=ECHOES)
    await scene.chat(chat_provider=GROQ, echoes=ECHOES)
    await scene.chat(chat_endpoint="by-env")
    await scene.chat(chat_endpoint="by-file", chat_secret_ref="by-file")
    await scene.chat("profiled")
    await scene.chat("credited", chat_endpoint="credit")
    await scene.chat("filed", chat_endpoint="credit-file")
    await scene.chat("locked")


async def embeddings(scene: Scene) -> None:
    """Index, search and embed with every kind of key."""
    canaries = scene.canaries
    own = Configuration(
        embedding_provider=OPENAI,
        embedding_api_key=canaries["request-embedding"],
        embedding_dimensions=NATIVE_DIMENSIONS,
        retry_attempts=0,
    )
    query = scene.cluster.query
    for name, configuration in (("own", own), ("theirs", Configuration())):
        async for answer in index(query, TEXTS, name, configuration):
            scene.canaries.saw("indexing", answer)
        request = query_service_pb2.SearchRequest(
            query="París", retrieval=searched(name), model_configuration=configuration
        )
        await scene.echoed(query.Search, request, "embeddings")
    stub = EmbeddingServiceStub(scene.cluster.channel("embedding"))
    mistral = Configuration(embedding_provider=MISTRAL, retry_attempts=0)
    for configuration in (own, mistral, Configuration(retry_attempts=0)):
        embed = embedding_service_pb2.EmbedRequest(
            texts=["hola"], model_configuration=configuration
        )
        await scene.echoed(stub.Embed, embed, "embeddings")


async def what_is_sent_along(scene: Scene) -> None:
    """Connections as another service forwards them, which a loopback client may send too."""
    canaries = scene.canaries

    def sent(
        secret: str, operation: "effective_configuration_pb2.Operation.ValueType"
    ) -> provenance_pb2.Provenance:
        connection = provenance_pb2.ForwardedConnection(
            operation=operation,
            provider=OPENAI,
            endpoint="sent",
            base_url=f"{scene.upstream.url(ModelProvider.OPENAI)}/sent",
            private=True,
            api_key=secret,
            source=configuration_source_pb2.CONFIGURATION_SOURCE_ENVIRONMENT,
        )
        return provenance_pb2.Provenance(connections=[connection])

    query = query_service_pb2.QueryRequest(
        message="hola",
        model_configuration=Configuration(chat_endpoint="sent", retry_attempts=0),
        provenance=sent(canaries["sent-chat"], effective_configuration_pb2.OPERATION_CHAT),
    )
    await scene.echoed(scene.cluster.query.Query, query, "chat")
    embed = embedding_service_pb2.EmbedRequest(
        texts=["hola"],
        model_configuration=Configuration(
            embedding_endpoint="sent", embedding_dimensions=NATIVE_DIMENSIONS, retry_attempts=0
        ),
        provenance=sent(
            canaries["sent-embedding"], effective_configuration_pb2.OPERATION_EMBEDDING
        ),
    )
    stub = EmbeddingServiceStub(scene.cluster.channel("embedding"))
    await scene.echoed(stub.Embed, embed, "embeddings")


async def refused_requests(scene: Scene) -> None:
    """Secrets where none belongs, and what the configuration service says of them."""
    misplaced = scene.canaries["misplaced"]
    options = Configuration(chat_provider=OPENAI, chat_api_key=misplaced)
    options.provider_configs["openai"].update({"api_key": misplaced, "base_url": misplaced})
    configurations = (
        Configuration(chat_api_key=misplaced),
        Configuration(embedding_api_key=misplaced),
        Configuration(chat_provider=OPENAI, chat_api_key=f"{misplaced} {misplaced}"),
        Configuration(chat_provider=OPENAI, chat_api_key=misplaced, chat_secret_ref="by-env"),
        Configuration(
            fallbacks=model_configuration_pb2.Fallbacks(
                alternatives=[model_configuration_pb2.Fallback(api_key=misplaced)]
            )
        ),
        options,
    )
    execution = AgentExecutionServiceStub(scene.cluster.channel("agent-execution"))
    for configuration in configurations:
        execute = agent_execution.ExecuteRequest(message="hola", model_configuration=configuration)
        await scene.call(execution.Execute, execute)
        resolve = configuration_service_pb2.ResolveConfigurationRequest(
            model_configuration=configuration
        )
        for service in SERVICES:
            stub = ConfigurationServiceStub(scene.cluster.channel(service))
            await scene.call(stub.ResolveConfiguration, resolve)
    for service in SERVICES:
        stub = ConfigurationServiceStub(scene.cluster.channel(service))
        await scene.call(stub.ListCapabilities, configuration_service_pb2.ListCapabilitiesRequest())


def content_of(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text())


def rewrite(path: Path, text: str) -> None:
    """Replace a file in one step."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


async def changed_files(scene: Scene, path: Path) -> None:
    """A file with keys in its defaults, and one that is refused over them."""
    canaries, logs = scene.canaries, scene.cluster.logs
    content = content_of(path)
    alternative = {"endpoint": "by-file", "api_key": canaries["file-fallback"]}
    content["defaults"] = {
        "chat_endpoint": "defaults",
        "chat_api_key": canaries["defaults"],
        "fallbacks": {"alternatives": [alternative]},
    }
    rewrite(path, json.dumps(content))
    await until(lambda: logs().count("configuration changed") == len(SERVICES), "the new file")
    await scene.chat()
    content["defaults"] = {"chat_api_key": canaries["misplaced"], "api_key": canaries["misplaced"]}
    rewrite(path, json.dumps(content))
    await until(lambda: logs().count("configuration refused") >= len(SERVICES), "the refusal")
    rewrite(path, f'{{"defaults": {{"chat_api_key": "{canaries["misplaced"]}"')
    await until(lambda: logs().count("not valid JSON") >= len(SERVICES), "the second refusal")
    async with aiohttp.ClientSession() as session:
        for port in scene.metrics_ports:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                text = await response.text()
            assert "cascada" in text
            canaries.saw("metrics", text)


WRONG = (
    {"OPENAI_BASE_URL": "https://user:{secret}@example.test/v1"},
    {"OPENAI_API_KEY": "two {secret}"},
    {"CASCADA_CHAT_API_KEY": "{secret}"},
    {"CASCADA_TEMPERATURE": "{secret}"},
    {"CASCADA_FALLBACKS": '{"alternatives": [{"api_key": "{secret}"}]'},
    {"CASCADA_FALLBACKS": '{"alternatives": [{"api_key": "{secret}", "secret": "{secret}"}]}'},
)


async def test_a_process_that_does_not_start_over_a_secret_does_not_print_it(
    tmp_path: Path,
) -> None:
    canaries = Canaries()
    async with Cluster(tmp_path) as cluster:
        for variables in WRONG:
            environ = {
                name: value.replace("{secret}", canaries["wrong"])
                for name, value in variables.items()
            }
            await cluster.start("-m", "agent_execution", environ=environ)
        codes = await asyncio.gather(*(program.ended() for program in cluster.programs))
    assert codes == [1] * len(WRONG)
    for variables, program in zip(WRONG, cluster.programs, strict=True):
        assert next(iter(variables)) in program.text
    canaries.saw_files(tmp_path)
    assert canaries.leaks() == []
