"""What a request is expected to use."""

from typing import Any

import pytest
from cascada.common.v1 import retrieval_pb2
from cascada.config.v1 import model_configuration_pb2
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from cascada.query.v1 import query_service_pb2 as query

from service_core.limits.estimate import BYTES_PER_TOKEN, PASSAGE_TOKENS, estimate
from tests.unit.config_core.support import TENANT, snapshot

Retrieval = retrieval_pb2.Retrieval


def expected(request: Any, document: dict[str, Any] | None = None) -> int:
    """The estimate beyond what is sent."""
    found = estimate(request, TENANT, snapshot(document))
    assert found is not None
    return found - -(-int(request.ByteSize()) // BYTES_PER_TOKEN)


def test_texts_to_embed_count_as_they_are_long() -> None:
    request = embedding.EmbedRequest(texts=["ñ" * 300, "x" * 900])
    found = estimate(request, TENANT, snapshot())
    assert found is not None
    assert 500 <= found <= 510


@pytest.mark.parametrize(
    ("document", "asked", "answer"),
    [
        ({}, None, 1000),
        ({"defaults": {"max_tokens": 70}}, None, 70),
        ({"defaults": {"max_tokens": 70}}, 90, 90),
        ({"policy": {"locks": {"max_tokens": 30}}}, 90, 30),
        ({"policy": {"bounds": {"max_tokens": {"max": 50}}}}, None, 50),
        ({"policy": {"bounds": {"max_tokens": {"max": 50}}}}, 90, 50),
    ],
)
def test_a_question_counts_with_the_longest_answer_that_it_may_have(
    document: dict[str, Any], asked: int | None, answer: int
) -> None:
    configuration = model_configuration_pb2.ModelConfiguration()
    if asked is not None:
        configuration.max_tokens = asked
    request = query.QueryRequest(message="x", model_configuration=configuration)
    assert expected(request, document) == answer


@pytest.mark.parametrize(
    ("retrieval", "passages"),
    [
        (Retrieval(collections=["a"]), 5),
        (Retrieval(collections=["a"], top_k=8), 8),
        (Retrieval(collections=["a"], top_k=8, rerank=True), 40),
    ],
)
def test_passages_count(retrieval: retrieval_pb2.Retrieval, passages: int) -> None:
    question = query.StreamQueryRequest(message="x", retrieval=retrieval)
    assert expected(question) == 1000 + passages * PASSAGE_TOKENS
    search = query.SearchRequest(query="x", retrieval=retrieval)
    if retrieval.rerank:
        assert expected(search) == passages * PASSAGE_TOKENS
    else:
        assert estimate(search, TENANT, snapshot()) is None


@pytest.mark.parametrize(
    "request_", [query.ListCollectionsRequest(), query.IndexDocumentsRequest()]
)
def test_what_asks_no_model_has_no_estimate(request_: Any) -> None:
    assert estimate(request_, TENANT, snapshot()) is None
