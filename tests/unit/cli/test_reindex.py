import json
from collections.abc import Iterator
from typing import Any

import pytest
from cascada.config.v1 import embedding_space_pb2, model_provider_pb2
from cascada.query.v1 import query_service_pb2 as pb

from config_core.errors import InvalidArgumentError, Reason, RemoteError, Violation
from tests.unit.cli.fake_services import CommandLine, FakeServices, serving

Response = pb.ReindexCollectionResponse

LOCAL = embedding_space_pb2.EmbeddingSpace(
    provider=model_provider_pb2.MODEL_PROVIDER_LOCAL,
    model="multilingual-e5-small",
    dimensions=384,
    prefix="e5",
)
OPENAI = embedding_space_pb2.EmbeddingSpace(
    provider=model_provider_pb2.MODEL_PROVIDER_OPENAI, model="small", dimensions=1536
)
STARTED = Response(progress=pb.ReindexProgress(documents=0, total_documents=3))
HALFWAY = Response(progress=pb.ReindexProgress(documents=2, total_documents=3))
DONE = Response(
    summary=pb.ReindexSummary(documents=3, chunks=7, previous_space=LOCAL, embedding_space=OPENAI)
)


class _Services(FakeServices):
    """Those of every command, and a reindexing."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Response] = []

    def ReindexCollection(self, request: Any, context: Any) -> Iterator[Response]:  # noqa: N802
        self.requests.append(request)
        yield from self.parts
        self._fail(context)


class _CommandLine(CommandLine):
    fake: _Services


@pytest.fixture
def cascada() -> Iterator[_CommandLine]:
    fake = _Services()
    with serving(fake) as target:
        yield _CommandLine(fake, target)


def test_the_request_says_what_to_embed_anew_and_how(cascada: _CommandLine) -> None:
    cascada.fake.parts = [STARTED, DONE]
    result = cascada(
        *("reindex", "cities", "--tenant", "t"),
        *("--embedding-provider", "openai", "--embedding-model", "small"),
        *("--embedding-dimensions", "1536"),
    )
    assert result.exit_code == 0
    [request] = cascada.fake.requests
    configuration = request.model_configuration
    assert (request.collection, request.context.tenant_id) == ("cities", "t")
    assert configuration.embedding_provider == model_provider_pb2.MODEL_PROVIDER_OPENAI
    assert (configuration.embedding_model, configuration.embedding_dimensions) == ("small", 1536)


def test_the_summary_names_both_spaces(cascada: _CommandLine) -> None:
    cascada.fake.parts = [STARTED, HALFWAY, DONE]
    result = cascada("reindex", "cities", "--embedding-provider", "openai")
    assert result.stdout == (
        "cities: 3 documents, 7 passages embedded anew; from [local/multilingual-e5-small, 384 "
        "dimensions, prefix e5] to [openai/small, 1536 dimensions]\n"
    )


def test_the_same_space_is_said_to_be_there_already(cascada: _CommandLine) -> None:
    same = pb.ReindexSummary(previous_space=LOCAL, embedding_space=LOCAL)
    cascada.fake.parts = [Response(summary=same)]
    result = cascada("reindex", "cities", "--embedding-provider", "local")
    assert result.exit_code == 0
    assert "already, nothing is to be done" in result.stdout


def test_the_trace_is_shown_if_asked_for(cascada: _CommandLine) -> None:
    done = Response()
    done.CopyFrom(DONE)
    done.summary.configuration_trace.hops.add(service="query", collections=["cities"])
    cascada.fake.parts = [done]
    result = cascada("reindex", "cities", "--embedding-provider", "openai", "--trace")
    assert "for cities" in result.stdout


def test_json_is_one_document(cascada: _CommandLine) -> None:
    cascada.fake.parts = [STARTED, HALFWAY, DONE]
    result = cascada("reindex", "cities", "--embedding-provider", "openai", "--json")
    document = json.loads(result.stdout)
    assert (document["collection"], document["documents"]) == ("cities", 3)
    assert document["embedding_space"]["model"] == "small"
    assert document["previous_space"]["prefix"] == "e5"


def test_a_run_that_breaks_off_says_how_far_it_got(cascada: _CommandLine) -> None:
    cascada.fake.parts = [STARTED, HALFWAY]
    cascada.fake.error = RemoteError(Reason.UPSTREAM_FAILED, "It did not work.")
    result = cascada("reindex", "cities", "--embedding-provider", "openai", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert "2 of 3 documents are in the new space, and the old one serves" in error["message"]
    assert (error["reason"], error["documents_done"]) == ("UPSTREAM_FAILED", 2)


def test_a_refusal_is_passed_on_with_its_exit_code(cascada: _CommandLine) -> None:
    violation = Violation("model_configuration", "must say how", Reason.INVALID_ARGUMENT)
    cascada.fake.error = InvalidArgumentError([violation])
    result = cascada("reindex", "cities")
    assert result.exit_code == 2
    assert "model_configuration: must say how" in result.stderr
    assert "documents are in the new space" not in result.stderr


def test_a_stream_without_a_summary_is_a_failure(cascada: _CommandLine) -> None:
    cascada.fake.parts = [STARTED]
    assert cascada("reindex", "cities", "--embedding-provider", "openai").exit_code == 1
