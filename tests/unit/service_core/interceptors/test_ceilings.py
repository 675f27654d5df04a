"""Ceilings on the parts of a request, for each message that has them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as execution
from cascada.common.v1 import request_context_pb2, retrieval_pb2
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from cascada.query.v1 import query_service_pb2 as query

from config_core.errors import PolicyViolationError
from query.retrieval import DEFAULT_TOP_K
from service_core.hop import MARK
from service_core.interceptors import Call, CeilingInterceptor, ceilings
from service_core.process import configure
from tests.unit.service_core.running import PORTS

ACME = request_context_pb2.RequestContext(tenant_id="acme")
RETRIEVING = (
    execution.ExecuteRequest,
    execution.StreamExecuteRequest,
    query.QueryRequest,
    query.StreamQueryRequest,
    query.SearchRequest,
)


class Context:
    """All that the layer reads of a call's context."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:40000"


async def passed(
    folder: Path,
    request: Any,
    bounds: Mapping[str, Any],
    *,
    general: bool = False,
    metadata: tuple[tuple[str, str], ...] = (),
) -> None:
    """Have a request come to its handler."""
    policy = {"bounds": bounds}
    document = {"policy": policy} if general else {"tenants": {"acme": {"policy": policy}}}
    path = folder / "cascada.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    _, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path)})
    context: grpc.aio.ServicerContext[Any, Any] = Context(metadata)  # type: ignore[assignment] # all that is read
    answer = await CeilingInterceptor(snapshots).around(Call("/x/Y", context, request), handler)
    assert answer == "answer"


async def handler() -> str:
    return "answer"


def asking(kind: Any, top_k: int | None = None) -> Any:
    retrieval = retrieval_pb2.Retrieval(collections=["handbook"])
    if top_k is not None:
        retrieval.top_k = top_k
    return kind(context=ACME, retrieval=retrieval)


@pytest.mark.parametrize("kind", RETRIEVING)
async def test_more_passages_than_allowed_are_refused_by_the_rules_path(
    kind: Any, tmp_path: Path
) -> None:
    bounds = {"top_k": {"max": 3}}
    await passed(tmp_path, asking(kind, 3), bounds)
    with pytest.raises(PolicyViolationError) as refused:
        await passed(tmp_path, asking(kind, 4), bounds)
    rule = {"rule": "tenants.acme.policy.bounds.top_k", "field": "top_k", "violations": "1"}
    assert refused.value.metadata == rule
    assert refused.value.violations[0].field == "retrieval.top_k"


@pytest.mark.parametrize(
    ("bound", "expected"), [({"max": 3}, 3), ({"min": 8}, 8), ({"max": 9}, None), ({}, None)]
)
async def test_the_number_that_holds_by_default_is_brought_inside(
    bound: dict[str, int], expected: int | None, tmp_path: Path
) -> None:
    request = asking(query.QueryRequest)
    await passed(tmp_path, request, {"top_k": bound})
    asked = request.retrieval.top_k if request.retrieval.HasField("top_k") else None
    assert asked == expected


async def test_a_question_without_retrieval_gets_none(tmp_path: Path) -> None:
    request = query.QueryRequest(context=ACME)
    await passed(tmp_path, request, {"top_k": {"max": 3}})
    assert not request.HasField("retrieval")


def test_the_default_is_the_one_of_the_query_service() -> None:
    assert ceilings.DEFAULT_TOP_K == DEFAULT_TOP_K


async def test_more_texts_than_allowed_are_refused(tmp_path: Path) -> None:
    bounds = {"batch": {"max": 2}}
    two, three = ["a", "b"], ["a", "b", "c"]
    await passed(tmp_path, embedding.EmbedRequest(context=ACME, texts=two), bounds, general=True)
    request = embedding.EmbedRequest(context=ACME, texts=three)
    with pytest.raises(PolicyViolationError, match=r"policy rule policy\.bounds\.batch"):
        await passed(tmp_path, request, bounds, general=True)


async def test_our_own_services_cut_their_calls_as_they_need(tmp_path: Path) -> None:
    request = embedding.EmbedRequest(context=ACME, texts=["a", "b", "c"])
    await passed(tmp_path, request, {"batch": {"max": 2}}, metadata=MARK)


async def test_the_ceiling_of_another_tenant_is_no_matter(tmp_path: Path) -> None:
    request = asking(query.QueryRequest, 9)
    request.context.tenant_id = "other"
    await passed(tmp_path, request, {"top_k": {"max": 3}})
