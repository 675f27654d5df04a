import json

from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.common.v1 import error_reason_pb2, restarted_pb2, retrieval_pb2

from config_core.errors import Reason, RemoteError
from tests.unit.cli.fake_services import CommandLine

Event = pb.StreamExecuteResponse


def test_the_answer_is_written_piece_by_piece_then_its_passages(cascada: CommandLine) -> None:
    whole = pb.ExecuteResponse(answer="París.")
    whole.citations.add(number=1, title="Francia", document_id="f.md", collection="c", score=0.5)
    cascada.fake.events = [Event(delta="Par"), Event(delta="ís."), Event(completed=whole)]
    result = cascada("ask", "¿?")
    assert result.exit_code == 0
    assert result.stdout.startswith("París.\n\nPassages\n[1] Francia – f.md (c, score 0.500)\n")


def test_a_restart_is_told_and_the_answer_begins_again(cascada: CommandLine) -> None:
    restarted = restarted_pb2.Restarted(
        reason=error_reason_pb2.ERROR_REASON_STREAM_INTERRUPTED, attempt=2
    )
    cascada.fake.events = [
        Event(delta="Lon"),
        Event(restarted=restarted),
        Event(delta="París."),
        Event(completed=pb.ExecuteResponse(answer="París.")),
    ]
    result = cascada("ask", "¿?", "--no-trace")
    assert result.stdout == "Lon\nParís.\n"
    assert "STREAM_INTERRUPTED" in result.stderr
    assert "attempt 2" in result.stderr


def test_a_stream_that_just_ends_is_a_failure(cascada: CommandLine) -> None:
    cascada.fake.events = [Event(delta="Par")]
    result = cascada("ask", "¿?")
    assert result.exit_code == 1
    assert "ended before it was complete" in result.stderr


def test_json_is_one_document_of_the_whole_answer(cascada: CommandLine) -> None:
    result = cascada("ask", "¿?", "--json")
    document = json.loads(result.stdout)
    assert document["answer"] == "whole"
    assert document["citations"] == []
    assert isinstance(cascada.fake.requests[0], pb.ExecuteRequest)


def test_no_stream_asks_for_the_whole_answer(cascada: CommandLine) -> None:
    result = cascada("ask", "¿?", "--no-stream", "--no-trace")
    assert result.stdout == "whole\n"


def test_what_a_model_says_cannot_steer_the_terminal(cascada: CommandLine) -> None:
    cascada.fake.events = [
        Event(delta="\x1b[2Jx"),
        Event(completed=pb.ExecuteResponse(answer="\x1b[2Jx")),
    ]
    assert "\x1b" not in cascada("ask", "¿?").stdout


def test_options_arrive_in_the_request(cascada: CommandLine) -> None:
    cascada("ask", "q", "-c", "a", "-c", "b", "--tenant", "t", "--system", "", "--json")
    request = cascada.fake.requests[0]
    assert request.message == "q"
    assert list(request.retrieval.collections) == ["a", "b"]
    assert request.context.tenant_id == "t"
    assert request.HasField("system_prompt")


def test_each_way_to_choose_passages_arrives_in_the_request(cascada: CommandLine) -> None:
    how = ("--top-k", "3", "--threshold", "0", "--mode", "dense", "--mmr", "0", "--neighbours", "2")
    cascada("ask", "q", "-c", "a", *how, "--rerank", "--json")
    assert cascada.fake.requests[0].retrieval == retrieval_pb2.Retrieval(
        collections=["a"],
        top_k=3,
        similarity_threshold=0.0,
        mode=retrieval_pb2.RETRIEVAL_MODE_DENSE,
        mmr_lambda=0.0,
        neighbours=2,
        rerank=True,
    )


def test_a_passage_is_shown_with_its_section(cascada: CommandLine) -> None:
    whole = pb.ExecuteResponse(answer="x")
    whole.citations.add(number=1, document_id="f.md", collection="c", section="A > B")
    whole.citations.add(number=2, document_id="g.md", collection="c", title="T", section="T")
    cascada.fake.answer = whole
    result = cascada("ask", "q", "--no-stream", "--no-trace")
    assert "[1] f.md, A > B (c, score 0.000)\n" in result.stdout
    assert "[2] T – g.md (c, score 0.000)\n" in result.stdout


def test_a_configuration_is_read_from_standard_input(cascada: CommandLine) -> None:
    cascada("ask", "q", "--json", "--config-json", "-", stdin='{"temperature": 0}')
    assert cascada.fake.requests[0].model_configuration.HasField("temperature")


def test_an_error_is_one_sentence_with_its_exit_code(cascada: CommandLine) -> None:
    cascada.fake.error = RemoteError(Reason.CREDENTIAL_MISSING, "Set GROQ_API_KEY.")
    result = cascada("ask", "q")
    assert result.exit_code == 5
    assert result.stderr == "error: Set GROQ_API_KEY.\n  reason: CREDENTIAL_MISSING\n"


def test_an_error_is_a_document_with_json(cascada: CommandLine) -> None:
    cascada.fake.error = RemoteError(Reason.POLICY_VIOLATION, "No.", metadata={"rule": "r"})
    result = cascada("ask", "q", "--json")
    assert result.exit_code == 4
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["reason"]) == ("PERMISSION_DENIED", "POLICY_VIOLATION")
    assert error["metadata"] == {"rule": "r"}
