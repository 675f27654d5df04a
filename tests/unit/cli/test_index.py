import json
from pathlib import Path

import pytest
from cascada.common.v1 import error_reason_pb2
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb

from config_core.errors import Reason, RemoteError
from tests.unit.cli.fake_services import CommandLine

Response = pb.IndexDocumentsResponse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")
    return tmp_path


def _indexed(name: str) -> Response:
    outcome = document_pb2.DOCUMENT_OUTCOME_INDEXED
    return Response(result=document_pb2.DocumentResult(document_id=name, outcome=outcome))


def _summary(indexed: int) -> Response:
    return Response(summary=document_pb2.IndexSummary(indexed=indexed, chunks=indexed))


def test_options_come_first_then_each_document(cascada: CommandLine, folder: Path) -> None:
    cascada.fake.results = [_indexed("a.md"), _indexed("b.md"), _summary(2)]
    result = cascada("index", str(folder), "-c", "c", "--chunk-tokens", "50")
    assert result.exit_code == 0
    first, *rest = cascada.fake.requests
    assert (first.options.collection, first.options.chunk_tokens) == ("c", 50)
    assert [(message.document.document_id, message.document.content) for message in rest] == [
        ("a.md", b"text of a.md"),
        ("b.md", b"text of b.md"),
    ]
    assert {message.document.media_type for message in rest} == {"text/markdown"}
    assert rest[0].document.source == str(folder / "a.md")
    assert "2 indexed, 0 unchanged, 0 failed" in result.stdout


def test_a_failed_document_is_named_and_changes_the_exit_code(
    cascada: CommandLine, folder: Path
) -> None:
    failed = document_pb2.DocumentResult(
        document_id="b.md",
        outcome=document_pb2.DOCUMENT_OUTCOME_FAILED,
        reason=error_reason_pb2.ERROR_REASON_INVALID_ARGUMENT,
        detail="Is blank.",
    )
    cascada.fake.results = [_indexed("a.md"), Response(result=failed), _summary(1)]
    result = cascada("index", str(folder), "-c", "c")
    assert result.exit_code == 1
    assert "failed  b.md: Is blank. (INVALID_ARGUMENT)" in result.stdout


def test_a_file_that_can_not_be_read_fails_alone(cascada: CommandLine, folder: Path) -> None:
    (folder / "c.md").touch()
    cascada.fake.results = [_indexed("a.md"), _indexed("b.md"), _summary(2)]
    result = cascada("index", str(folder), "-c", "c", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["indexed"], document["failed"]) == (2, 1)
    assert document["failures"] == [
        {"document_id": "c.md", "reason": "UNREADABLE", "detail": "is empty: leave it out"}
    ]


def test_an_interrupted_stream_says_how_far_it_came(cascada: CommandLine, folder: Path) -> None:
    cascada.fake.results = [_indexed("a.md")]
    cascada.fake.error = RemoteError(Reason.UPSTREAM_FAILED, "The disk is full.")
    result = cascada("index", str(folder), "-c", "c")
    assert result.exit_code == 1
    assert "The disk is full. 1 of 2 documents were dealt with before" in result.stderr


def test_a_stream_without_a_summary_is_a_failure(cascada: CommandLine, folder: Path) -> None:
    cascada.fake.results = [_indexed("a.md")]
    assert cascada("index", str(folder), "-c", "c").exit_code == 1


def test_a_folder_without_documents_is_a_usage_error(cascada: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    result = cascada("index", str(tmp_path), "-c", "c")
    assert result.exit_code == 2
    assert ".pdf file in" in result.stderr


def test_chunk_tokens_are_left_to_the_service_where_they_are_not_given(
    cascada: CommandLine, folder: Path
) -> None:
    cascada.fake.results = [_summary(0)]
    cascada("index", str(folder), "-c", "c")
    assert not cascada.fake.requests[0].options.HasField("chunk_tokens")
