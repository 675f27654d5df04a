"""Many tenants at once, some cancelled and some failed, and an upstream that checks their keys."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as execution
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.common.v1 import request_context_pb2, retrieval_pb2
from cascada.embedding.v1 import embedding_service_pb2
from cascada.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from cascada.query.v1 import document_pb2, query_service_pb2
from google.protobuf.message import Message

from tests.faults.tenant_keys import ENDPOINTS, TENANTS, ManyCanaries, Place
from tests.faults.tenant_plans import COLLECTION, EMBEDS, Plan, Plans
from tests.system.cluster import Cluster
from tests.system.echoing import ECHOES
from tests.upstream.behaviours import Answer, Broken, Silence, Status
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.faults import CHAT_FAULTS
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

CALL_SECONDS = 60.0
AT_ONCE = 8

_TOKEN = re.compile(r"request (\d+) of tenant-\d+")
_ADDRESSES = frozenset({*ENDPOINTS, "profile", "defaults"})
_FAULTS = (
    *ECHOES,
    *(
        CHAT_FAULTS[name]
        for name in ("reset before headers", "cut", "malformed chunk", "wrong content type")
    ),
)


@dataclass
class Checking:
    """Compares each request's key, provider and address with those that the plan names."""

    upstream: UpstreamServer
    canaries: ManyCanaries
    plans: dict[int, Plan] = field(default_factory=dict)
    to_cancel: dict[int, asyncio.Event] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    arrived: Counter[str] = field(default_factory=Counter)
    _faults: Iterator[Behaviour] = field(default_factory=lambda: cycle(_FAULTS))

    def __call__(self, received: Received) -> Behaviour:
        """Check, and answer as planned."""
        self.upstream.requests.clear()
        headers = {name: at for name, at in received.headers.items() if name != "authorization"}
        self.canaries.saw("what else the upstream got", json.dumps([received.body, headers]))
        # A conversation ends with the question; passages that were found hold others.
        texts = [turn["content"] for turn in received.body.get("messages", ())][-1:]
        found = _TOKEN.findall(str(texts or received.body.get("input") or received.body))
        assert found, "a request without a token"
        plan = self.plans[int(found[-1])]
        operation = "embeddings" if received.operation == "embeddings" else "chat"
        place = _place(received)
        name = self.canaries.names.get(received.key, "an unknown key")
        if plan.expected.get((operation, place)) != name:
            self.wrong.append(
                f"{plan.kind} of {plan.tenant}: {name} came to {operation} at {place}"
            )
        self.arrived[name] += 1
        return self._behaviour(plan, name, received)

    def _behaviour(self, plan: Plan, name: str, received: Received) -> Behaviour:
        if plan.fails_first and name.startswith("request"):
            return Status(500, "The key {key} is no good.")
        seen = self.to_cancel.get(plan.number)
        if seen is not None:
            seen.set()
            return Broken("stall") if received.operation == "stream" else Silence()
        if plan.ends == "fault":
            return next(self._faults)
        return Answer(Content(pieces=("an answer to ", plan.text)))


@dataclass
class Tenants:
    """Sends the planned requests, and looks at all that comes back."""

    cluster: Cluster
    checking: Checking
    plans: Plans
    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    cancelled: int = 0
    wrong: list[str] = field(default_factory=list)

    async def fill(self, number: int) -> None:
        """Give every tenant a collection to search in; the first of these requests is `number`."""
        for tenant in range(TENANTS):
            plan = self.plans.of(number + tenant, "index", tenant, 0)
            await self.send_one(plan)

    async def send(self, count: int) -> None:
        """Send the first requests, some at once."""
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await self.send_one(self.plans.plan(number))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def send_one(self, plan: Plan) -> None:
        """Send one request, cancel it if that is planned, and keep what came of it."""
        self.checking.plans[plan.number] = plan
        task = asyncio.ensure_future(self._outcome(plan))
        if plan.ends == "cancelled":
            seen = self.checking.to_cancel[plan.number] = asyncio.Event()
            waiting = asyncio.ensure_future(seen.wait())
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            self.cancelled += not task.done()
            waiting.cancel()
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                self.codes[plan.kind, "CANCELLED"] += 1
                return
        self.codes[plan.kind, await task] += 1

    async def _outcome(self, plan: Plan) -> str:
        canaries, token = self.checking.canaries, self.plans.keys.token(plan.tenant)
        try:
            async for answer in _answers(self.cluster, plan, token):
                canaries.saw(f"an answer to {plan.kind}", answer)
                said = getattr(getattr(answer, "completed", answer), "answer", "")
                if said and said != f"an answer to {plan.text}" and plan.ends != "fault":
                    self.wrong.append(f"{plan.text}: {said}")
        except grpc.aio.AioRpcError as error:
            canaries.saw(f"an error of {plan.kind}", error)
            return error.code().name
        return "OK"


async def _answers(cluster: Cluster, plan: Plan, token: str) -> AsyncIterator[Message]:
    """What a planned call is answered with."""
    options: dict[str, Any] = {
        "timeout": CALL_SECONDS,
        "metadata": (("authorization", f"Bearer {token}"),),
    }
    context = request_context_pb2.RequestContext(tenant_id=plan.context_tenant)
    if plan.kind in EMBEDS:
        request = embedding_service_pb2.EmbedRequest(
            context=context, texts=[plan.text], model_configuration=plan.configuration
        )
        yield await EmbeddingServiceStub(cluster.channel("embedding")).Embed(request, **options)
        return
    fields: dict[str, Any] = {
        "context": context,
        "message": plan.text,
        "model_configuration": plan.configuration,
    }
    if plan.kind == "retrieval":
        fields["retrieval"] = retrieval_pb2.Retrieval(collections=[COLLECTION])
    stub = AgentExecutionServiceStub(cluster.channel("agent-execution"))
    call: Any
    if plan.kind == "index":
        call = cluster.query.IndexDocuments(_documents(plan, context), **options)
    elif plan.stream:
        call = stub.StreamExecute(execution.StreamExecuteRequest(**fields), **options)
    else:
        yield await stub.Execute(execution.ExecuteRequest(**fields), **options)
        return
    try:
        async for answer in call:
            yield answer
    finally:
        call.cancel()


def _documents(
    plan: Plan, context: request_context_pb2.RequestContext
) -> Iterator[query_service_pb2.IndexDocumentsRequest]:
    options = document_pb2.IndexOptions(
        context=context,
        collection=plan.collection,
        model_configuration=plan.configuration,
    )
    yield query_service_pb2.IndexDocumentsRequest(options=options)
    document = document_pb2.Document(document_id="note", text=plan.text)
    yield query_service_pb2.IndexDocumentsRequest(document=document)


def _place(received: Received) -> Place:
    """The provider and the endpoint that a request has come to, by its path."""
    endpoint = next((part for part in received.path.split("/") if part in _ADDRESSES), "")
    return Place(received.provider, endpoint)
