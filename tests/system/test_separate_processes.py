"""Three processes give the same answer and trace as one, wherever the keys are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascada.config.v1 import model_configuration_pb2, model_provider_pb2

from config_core.model_configuration import ModelProvider
from tests.system.asking import (
    UPSTREAM_MODELS,
    base_urls,
    comparable,
    index_all,
    searched,
)
from tests.system.cluster import Cluster
from tests.upstream.server import UpstreamServer

QUESTION = "What is the capital of France?"

CHAT_KEY = "chat-key-of-the-operator-1"
EMBEDDING_KEY = "embedding-key-of-the-operator-2"
REQUEST_KEY = "embedding-key-of-the-request-3"

# Chat and embedding at two providers, so that a key at the wrong one is seen.
MODELS = {**UPSTREAM_MODELS, "CASCADA_CHAT_PROVIDER": "mistral"}
CHAT = {"MISTRAL_API_KEY": CHAT_KEY}
EMBEDDING = {"OPENAI_API_KEY": EMBEDDING_KEY}


async def answer_of(cluster: Cluster) -> Any:
    """The answer with its citations and trace."""
    response = await cluster.execute(QUESTION, retrieval=searched())
    assert response.answer
    assert len(response.configuration_trace.hops) == 4
    return comparable(response)


async def test_with_the_local_default_three_processes_answer_as_one_does(tmp_path: Path) -> None:
    async with Cluster(tmp_path, {"CASCADA_TEMPERATURE": "0"}) as one:
        await one.serve_all()
        await index_all(one.query)
        expected = await answer_of(one)
    async with Cluster(tmp_path, {"CASCADA_TEMPERATURE": "0"}) as three:
        await three.serve_each()
        assert await answer_of(three) == expected
    assert "Paris" in expected["answer"]


async def answers(
    folder: Path, upstream: UpstreamServer, environs: Mapping[str, Mapping[str, str]]
) -> tuple[Any, Any]:
    """What one process with everything answers, and three with these environments."""
    every = {**base_urls(upstream), **CHAT, **EMBEDDING}
    async with Cluster(folder, MODELS) as one:
        await one.serve_all(every)
        await index_all(
            one.query,
            configuration=model_configuration_pb2.ModelConfiguration(
                embedding_provider=model_provider_pb2.MODEL_PROVIDER_OPENAI,
                embedding_api_key=REQUEST_KEY,
            ),
        )
        expected = await answer_of(one)
    check_keys(upstream, {REQUEST_KEY, EMBEDDING_KEY})
    async with Cluster(folder, MODELS) as three:
        await three.serve_each(environs)
        found = await answer_of(three)
    check_keys(upstream, {EMBEDDING_KEY})
    return expected, found


def check_keys(upstream: UpstreamServer, embedding_keys: set[str]) -> None:
    """What came since the last check: these keys for embeddings, one for chat, each to its own."""
    came = {(seen.provider.value, seen.operation, seen.key) for seen in upstream.requests}
    upstream.requests.clear()
    chat = (ModelProvider.MISTRAL.value, "chat", CHAT_KEY)
    assert came == {
        chat,
        *((ModelProvider.OPENAI.value, "embeddings", key) for key in embedding_keys),
    }


async def test_with_the_keys_at_agent_execution_three_processes_answer_as_one_does(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    central = {
        **base_urls(upstream),
        **CHAT,
        **EMBEDDING,
        "CASCADA_FORWARD_CREDENTIALS": "1",
    }
    expected, found = await answers(tmp_path, upstream, {"agent-execution": central})
    assert found == expected


async def test_with_the_keys_where_they_are_used_three_processes_answer_as_one_does(
    tmp_path: Path, upstream: UpstreamServer
) -> None:
    everywhere = base_urls(upstream)
    expected, found = await answers(
        tmp_path,
        upstream,
        {
            "agent-execution": everywhere,
            "query": {**everywhere, **CHAT},
            "embedding": {**everywhere, **EMBEDDING},
        },
    )
    # Who does not call the provider can't know where its key will come from, and says so.
    keyless = [hop for hop in found["configurationTrace"]["hops"] if not hop["attempts"]]
    for hop in keyless:
        assert hop["effective"]["credentialSource"] == "CONFIGURATION_SOURCE_UNSPECIFIED"
        hop["effective"]["credentialSource"] = "CONFIGURATION_SOURCE_ENVIRONMENT"
    assert len(keyless) == 2
    assert found == expected
