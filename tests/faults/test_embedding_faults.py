"""Whatever a provider of embeddings does, Embed and Search end in good vectors or in one error."""

import asyncio
import copy
import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cascada.common.v1 import retrieval_pb2
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from cascada.embedding.v1 import embedding_service_pb2
from cascada.query.v1 import query_service_pb2

from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from service_core.upstream import exchange
from tests.faults.expectations import EXPECTED, FAILED, FAULTS, WHOLE, Expected
from tests.faults.replies import CALL_SECONDS, CODES, Reply, reply_to
from tests.faults.services import Services, endpoints, operator_key, serve
from tests.faults.stage import Arrival, ByKey, selected_cases
from tests.system.asking import index_all
from tests.upstream.faults import VECTOR_FAULTS
from tests.upstream.formats import NATIVE_DIMENSIONS, vector
from tests.upstream.server import UpstreamServer

AT_ONCE = 12
TIMEOUT_SECONDS = 30.0
LIMIT_SECONDS = 2.0
RETRIES = 1
MAX_ANSWER_BYTES = 4 * 1024 * 1024

MODEL = "some-embedder"
TEXTS = ("uno", "dos", "tres")
PROVIDERS = (ModelProvider.OPENAI, ModelProvider.MISTRAL)
ALL: Mapping[str, object] = {**FAULTS, **VECTOR_FAULTS}

IN_SEARCH: Mapping[str, Expected] = {
    # Of one vector no index can come twice, and its length is compared with the collection's.
    "an index comes twice": WHOLE,
    "a vector is short": Expected(Reason.EMBEDDING_SPACE_MISMATCH),
}


@dataclass(frozen=True)
class Case:
    """One fault, met by one operation at one provider."""

    fault: str
    operation: str
    provider: ModelProvider

    def __str__(self) -> str:
        return f"{self.fault}-{self.operation}-{self.provider}"

    @property
    def expected(self) -> Expected:
        """What has to happen; embeddings fail as chat in one piece does."""
        if self.fault not in VECTOR_FAULTS:
            return EXPECTED[self.fault][0]
        return IN_SEARCH.get(self.fault, FAILED) if self.operation == "search" else FAILED


@dataclass(frozen=True)
class Ending:
    """How a case ended, and what its connection saw of it."""

    reply: Reply
    arrivals: Sequence[Arrival]
    afterwards: Reply


CASES = [Case(*at) for at in itertools.product(ALL, ("embed", "search"), PROVIDERS)]
GOOD: Mapping[str, Reply] = {
    "embed": Reply(arguments=[str(vector(text)) for text in TEXTS]),
    "search": Reply(arguments=["france"]),
}

Endings = Mapping[Case, Ending]


@pytest.fixture(scope="module")
def endings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Endings:
    """Run every case of this module that was selected."""
    cases = selected_cases(request)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "MAX_ANSWER_BYTES", MAX_ANSWER_BYTES)
        return asyncio.run(_run(cases, tmp_path_factory.mktemp("embedding")))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_ends_in_good_vectors_or_in_its_error(case: Case, endings: Endings) -> None:
    reason = case.expected.reason
    due = Reply(code=CODES[reason], reason=reason) if reason else GOOD[case.operation]
    assert _end(endings[case].reply) == _end(due)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_upstream_counts_no_attempt_too_many(case: Case, endings: Endings) -> None:
    assert len(endings[case].arrivals) == case.expected.attempts <= RETRIES + 1


@pytest.mark.parametrize("case", [case for case in CASES if case.expected.gap], ids=str)
def test_no_attempt_comes_before_retry_after(case: Case, endings: Endings) -> None:
    first, second = endings[case].arrivals
    assert second.at - first.at >= case.expected.gap


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_healthy_request_right_afterwards_succeeds(case: Case, endings: Endings) -> None:
    assert _end(endings[case].afterwards) == _end(GOOD[case.operation])


def _end(reply: Reply) -> tuple[object, ...]:
    return reply.code, reply.reason, tuple(reply.arguments)


async def _run(cases: Sequence[Case], folder: Path) -> Endings:
    names = {case: f"case-{number}" for number, case in enumerate(cases)}
    async with UpstreamServer() as upstream:
        stage = upstream.choose = ByKey()
        addresses = {
            name: (case.provider, upstream.url(case.provider)) for case, name in names.items()
        }
        addresses |= {
            f"index-{provider}": (provider, upstream.url(provider)) for provider in PROVIDERS
        }
        turns = asyncio.Semaphore(AT_ONCE)
        async with serve(
            folder, upstream, endpoints(addresses), {"CASCADA_EMBEDDING_DIMENSIONS": ""}
        ) as services:
            for provider in PROVIDERS:
                configuration = ModelConfiguration(
                    embedding_endpoint=f"index-{provider}", embedding_model=MODEL
                )
                await index_all(
                    services.query, collection=provider.value, configuration=configuration
                )

            async def run(case: Case) -> Ending:
                async with turns:
                    return await _run_one(services, stage, case, names[case])

            endings = await asyncio.gather(*(run(case) for case in cases))
    return dict(zip(cases, endings, strict=True))


async def _run_one(services: Services, stage: ByKey, case: Case, name: str) -> Ending:
    key = operator_key(name)
    stage.behaviours[key] = copy.deepcopy({**FAULTS, **VECTOR_FAULTS}[case.fault])
    reply = await _ask(services, case, name)
    arrivals = list(stage.arrivals[key])
    del stage.behaviours[key]
    return Ending(reply, arrivals, await _ask(services, case, name))


async def _ask(services: Services, case: Case, name: str) -> Reply:
    """Embed, or search; the reply's `arguments` are the vectors, or the first document found."""
    configuration = ModelConfiguration(
        embedding_endpoint=name,
        embedding_model=MODEL,
        retry_attempts=RETRIES,
        timeout_seconds=TIMEOUT_SECONDS,
        attempt_timeout_seconds=LIMIT_SECONDS,
    )

    async def embed() -> Reply:
        request = embedding_service_pb2.EmbedRequest(texts=TEXTS, model_configuration=configuration)
        response = await services.embedding.Embed(request, timeout=CALL_SECONDS)
        form = f"<{NATIVE_DIMENSIONS}f"
        return Reply(arguments=[str(list(struct.unpack(form, one))) for one in response.embeddings])

    async def search() -> Reply:
        request = query_service_pb2.SearchRequest(
            query="Seine",
            retrieval=retrieval_pb2.Retrieval(collections=[case.provider.value], top_k=1),
            model_configuration=configuration,
        )
        response = await services.query.Search(request, timeout=CALL_SECONDS)
        return Reply(arguments=[hit.document_id for hit in response.hits])

    return await reply_to(embed if case.operation == "embed" else search)
