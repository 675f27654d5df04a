"""The audit over all services: what each says of one request."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from cascada.agent_execution.v1 import agent_execution_service_pb2 as execution
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import model_configuration_pb2, model_provider_pb2
from pydantic import SecretStr

from config_core.fingerprint import fingerprint
from config_core.model_configuration import ModelProvider
from service_core.audit.log import NAME
from tests.faults.services import operator_key, serve
from tests.upstream.behaviours import Answer, Silence, Status
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.server import UpstreamServer

KEY = "the key of the fingerprints"
QUESTION = "What is the capital of Canaria?"
FALLING_BACK = model_configuration_pb2.ModelConfiguration(
    chat_provider=model_provider_pb2.MODEL_PROVIDER_OPENAI,
    retry_attempts=0,
    fallbacks=model_configuration_pb2.Fallbacks(
        alternatives=[
            model_configuration_pb2.Fallback(
                provider=model_provider_pb2.MODEL_PROVIDER_GROQ, model="llama-x"
            )
        ]
    ),
)


@pytest.fixture
def logs() -> Iterator[Sequence[MutableMapping[str, Any]]]:
    """Give all that is logged, the audit included."""
    logger = logging.getLogger(NAME)
    level = logger.level
    logger.setLevel(logging.INFO)
    with structlog.testing.capture_logs() as captured:
        yield captured
    logger.setLevel(level)


def by_service(logs: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Each service's one line."""
    lines = [entry for entry in logs if entry["event"] == "audit"]
    found = {line["service"]: line for line in lines}
    assert len(found) == len(lines)
    return found


async def until_written(logs: Sequence[Mapping[str, Any]], count: int) -> None:
    async with asyncio.timeout(20):
        while sum(entry["event"] == "audit" for entry in logs) < count:  # noqa: ASYNC110 # nobody tells
            await asyncio.sleep(0.01)


def groq_alone(received: Received) -> Behaviour:
    return Answer() if received.provider is ModelProvider.GROQ else Status(503)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_each_service_writes_one_line_and_one_says_that_the_request_entered_there(
    logs: Sequence[MutableMapping[str, Any]], tmp_path: Path, *, stream: bool
) -> None:
    context = request_context_pb2.RequestContext(tenant_id="acme", trace_id="t-1")
    fields: Any = {
        "context": context,
        "message": QUESTION,
        "model_configuration": FALLING_BACK,
    }
    async with UpstreamServer() as upstream:
        upstream.choose = groq_alone
        environ = {"CASCADA_FINGERPRINT_KEY": KEY}
        async with serve(tmp_path, upstream, {}, environ) as services:
            if stream:
                asked = execution.StreamExecuteRequest(**fields)
                events = [event async for event in services.agent.StreamExecute(asked, timeout=20)]
                trace = events[-1].completed.configuration_trace
            else:
                request = execution.ExecuteRequest(**fields)
                trace = (await services.agent.Execute(request, timeout=20)).configuration_trace
    lines = by_service(logs)
    assert {name: line["entry"] for name, line in lines.items()} == {
        "agent-execution": True,
        "query": False,
    }
    for line in lines.values():
        assert (line["tenant"], line["trace_id"], line["code"]) == ("acme", "t-1", "OK")
        # The one that answered, not the one that was asked first.
        assert (line["provider"], line["model"], line["attempts"]) == ("groq", "llama-x", 2)
        assert (line["input_tokens"], line["output_tokens"]) == (7, 3)
        assert QUESTION not in str(line)
    assert lines["query"]["digest"] == trace.hops[-1].effective.digest
    assert lines["query"]["key"] == fingerprint(SecretStr(operator_key("groq")), SecretStr(KEY))
    assert [hop["service"] for hop in lines["agent-execution"]["hops"]] == [
        "agent-execution",
        "query",
    ]
    assert operator_key("groq") not in str(logs)


async def test_a_request_that_is_given_up_is_known_at_every_service_that_it_had_reached(
    logs: Sequence[MutableMapping[str, Any]], tmp_path: Path
) -> None:
    context = request_context_pb2.RequestContext(tenant_id="acme", trace_id="t-1")
    async with UpstreamServer() as upstream:
        upstream.default = Silence()
        async with serve(tmp_path, upstream) as services:
            request = execution.ExecuteRequest(context=context, message=QUESTION)
            asking = services.agent.Execute(request, timeout=20)
            await upstream.received()
            asking.cancel()
            await until_written(logs, 2)
    for line in by_service(logs).values():
        assert (line["code"], line["provider"], line["attempts"]) == ("CANCELLED", "openai", 0)
        assert line["digest"]
