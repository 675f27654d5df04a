"""How a client team tests its own blocking code without a server: on grpcio-testing's fake channel.

The code under test runs in a thread. The test takes its call from the channel, looks at the request
and ends the call as a service would.
"""

import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import grpc
import grpc_testing
import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.common.v1 import error_reason_pb2, restarted_pb2, retrieval_pb2
from cascada.config.v1 import embedding_space_pb2, model_provider_pb2
from cascada.embedding.v1 import embedding_service_pb2 as embedding
from cascada.query.v1 import query_service_pb2 as query
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.contract.example_client import AnswerError, Assistant

EXECUTE, STREAM_EXECUTE = (
    agent_execution.DESCRIPTOR.services_by_name["AgentExecutionService"].methods_by_name[name]
    for name in ("Execute", "StreamExecute")
)
QUERY, SEARCH = (
    query.DESCRIPTOR.services_by_name["QueryService"].methods_by_name[name]
    for name in ("Query", "Search")
)
EMBED = embedding.DESCRIPTOR.services_by_name["EmbeddingService"].methods_by_name["Embed"]

StartWork = Callable[[Callable[[], object]], "Future[object]"]


@pytest.fixture
def channel() -> grpc_testing.Channel:
    services = [
        *agent_execution.DESCRIPTOR.services_by_name.values(),
        *query.DESCRIPTOR.services_by_name.values(),
        *embedding.DESCRIPTOR.services_by_name.values(),
    ]
    return grpc_testing.channel(services, grpc_testing.strict_fake_time(0))


@pytest.fixture
def start() -> Iterator[StartWork]:
    """Run the code under test in a thread; its result is awaited with a limit."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield thread.submit


def _refusal() -> grpc.Status:
    """How a service says that it has no key for Groq."""
    info = error_details_pb2.ErrorInfo(
        domain="cascada",
        reason="CREDENTIAL_MISSING",
        metadata={"provider": "groq", "variable": "GROQ_API_KEY", "field": "chat_api_key"},
    )
    packed = any_pb2.Any()
    packed.Pack(info)
    return rpc_status.to_status(
        status_pb2.Status(
            code=code_pb2.FAILED_PRECONDITION, message="Set GROQ_API_KEY.", details=[packed]
        )
    )


def test_execute_is_answered_by_the_test(channel: grpc_testing.Channel, start: StartWork) -> None:
    work = start(lambda: Assistant(channel).ask("¿Cuál es la capital de Francia?"))
    _, request, call = channel.take_unary_unary(EXECUTE)
    call.send_initial_metadata(())
    call.terminate(
        agent_execution.ExecuteResponse(
            answer="París", citations=[retrieval_pb2.Citation(number=1, document_id="francia")]
        ),
        (),
        grpc.StatusCode.OK,
        "",
    )
    assert work.result(timeout=10) == "París [francia]"
    assert request == agent_execution.ExecuteRequest(message="¿Cuál es la capital de Francia?")


def test_an_error_brings_its_reason_and_facts(
    channel: grpc_testing.Channel, start: StartWork
) -> None:
    work = start(lambda: Assistant(channel).ask("Hola"))
    _, _, call = channel.take_unary_unary(EXECUTE)
    refusal = _refusal()
    call.send_initial_metadata(())
    call.terminate(None, refusal.trailing_metadata, refusal.code, refusal.details)
    with pytest.raises(AnswerError, match=r"^Set GROQ_API_KEY\.$") as raised:
        work.result(timeout=10)
    assert raised.value.reason == "CREDENTIAL_MISSING"
    assert raised.value.facts["field"] == "chat_api_key"


def test_stream_execute_is_answered_event_by_event(
    channel: grpc_testing.Channel, start: StartWork
) -> None:
    work = start(lambda: list(Assistant(channel).ask_live("Hola")))
    _, request, call = channel.take_unary_stream(STREAM_EXECUTE)
    call.send_initial_metadata(())
    for event in (
        agent_execution.StreamExecuteResponse(delta="Ber"),
        agent_execution.StreamExecuteResponse(
            restarted=restarted_pb2.Restarted(
                reason=error_reason_pb2.ERROR_REASON_STREAM_INTERRUPTED, attempt=2
            )
        ),
        agent_execution.StreamExecuteResponse(delta="Pa"),
        agent_execution.StreamExecuteResponse(delta="rís"),
        agent_execution.StreamExecuteResponse(
            completed=agent_execution.ExecuteResponse(answer="París")
        ),
    ):
        call.send_response(event)
    call.terminate((), grpc.StatusCode.OK, "")
    assert work.result(timeout=10) == ["Ber", "Pa", "París", "París"]
    assert request == agent_execution.StreamExecuteRequest(message="Hola")


def test_a_stream_may_end_in_an_error_after_its_first_events(
    channel: grpc_testing.Channel, start: StartWork
) -> None:
    pieces = SimpleQueue[str]()

    def read() -> None:
        for piece in Assistant(channel).ask_live("Hola"):
            pieces.put(piece)

    work = start(read)
    _, _, call = channel.take_unary_stream(STREAM_EXECUTE)
    refusal = _refusal()
    call.send_initial_metadata(())
    call.send_response(agent_execution.StreamExecuteResponse(delta="Ber"))
    # An error that comes before the event was read would make the fake channel drop the event.
    assert pieces.get(timeout=10) == "Ber"
    call.terminate(refusal.trailing_metadata, refusal.code, refusal.details)
    with pytest.raises(AnswerError) as raised:
        work.result(timeout=10)
    assert raised.value.reason == "CREDENTIAL_MISSING"


def test_query_is_answered_by_the_test(channel: grpc_testing.Channel, start: StartWork) -> None:
    work = start(lambda: Assistant(channel).ask_documents("¿Vacaciones?", "handbook"))
    _, request, call = channel.take_unary_unary(QUERY)
    call.send_initial_metadata(())
    call.terminate(query.QueryResponse(answer="30 días"), (), grpc.StatusCode.OK, "")
    assert work.result(timeout=10) == "30 días"
    assert list(request.retrieval.collections) == ["handbook"]


def test_search_is_answered_by_the_test(channel: grpc_testing.Channel, start: StartWork) -> None:
    work = start(lambda: Assistant(channel).find("vacaciones", "handbook"))
    _, request, call = channel.take_unary_unary(SEARCH)
    call.send_initial_metadata(())
    hits = [query.Hit(document_id="holidays"), query.Hit(document_id="leave")]
    call.terminate(query.SearchResponse(hits=hits), (), grpc.StatusCode.OK, "")
    assert work.result(timeout=10) == ["holidays", "leave"]
    assert request.query == "vacaciones"


def test_embed_is_answered_by_the_test(channel: grpc_testing.Channel, start: StartWork) -> None:
    work = start(lambda: Assistant(channel).vectors(["uno", "dos"]))
    _, request, call = channel.take_unary_unary(EMBED)
    space = embedding_space_pb2.EmbeddingSpace(
        provider=model_provider_pb2.MODEL_PROVIDER_LOCAL, model="m", dimensions=2
    )
    packed = [struct.pack("<2f", 1.0, -0.5), struct.pack("<2f", 0.25, 0.0)]
    call.send_initial_metadata(())
    call.terminate(
        embedding.EmbedResponse(embeddings=packed, space=space), (), grpc.StatusCode.OK, ""
    )
    assert work.result(timeout=10) == [(1.0, -0.5), (0.25, 0.0)]
    assert list(request.texts) == ["uno", "dos"]
