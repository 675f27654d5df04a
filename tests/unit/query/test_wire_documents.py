from typing import Any

import pytest
from cascada.query.v1 import document_pb2
from google.protobuf import json_format

from config_core.errors import (
    BudgetSpentError,
    InvalidConfigurationError,
    Reason,
    RemoteError,
    Violation,
)
from query import wire_documents
from query.extraction.model import MediaType
from query.indexing import SourceDocument

CONTENT: dict[str, Any] = {"text": "", "content": "eA==", "media_type": "text/plain"}


def document(**fields: Any) -> SourceDocument:
    """What a document's JSON becomes."""
    whole = {"document_id": "d", "text": "Un texto.", **fields}
    return wire_documents.document_from(json_format.ParseDict(whole, document_pb2.Document()))


def test_a_document_keeps_all_its_fields() -> None:
    found = document(title="T", source="s.md", metadata={"a": "x", "b": 2, "c": 2.5, "d": True})
    assert found.problem == ""
    assert (found.document_id, found.text, found.title, found.source) == (
        "d",
        "Un texto.",
        "T",
        "s.md",
    )
    assert found.metadata == {"a": "x", "b": 2, "c": 2.5, "d": True}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"document_id": ""}, "document_id must have 1 to 512 characters"),
        ({"document_id": "x" * 513}, "document_id must have 1 to 512 characters"),
        ({"text": ""}, "text must not be empty or blank"),
        ({"text": " \n "}, "text must not be empty or blank"),
        ({"text": "x" * 2_000_001}, "text must have at most 2000000 characters"),
        ({"metadata": {"k": None}}, "metadata.k must be a string, number or bool"),
        ({"metadata": {"k": [1]}}, "metadata.k must be a string, number or bool"),
        ({"metadata": {"k": {"a": 1}}}, "metadata.k must be a string, number or bool"),
        (
            {"metadata": {f"k{n}": n for n in range(65)}},
            "metadata must be at most 64 entries",
        ),
    ],
)
def test_each_rule_of_a_document_is_its_problem(fields: dict[str, Any], problem: str) -> None:
    assert document(**fields).problem == problem


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_metadata_that_is_no_finite_number_is_the_documents_problem(number: float) -> None:
    message = document_pb2.Document(document_id="d", text="x")
    message.metadata.fields["k"].number_value = number
    assert wire_documents.document_from(message).problem == "metadata.k must be a finite number"


def test_a_document_at_every_limit_is_taken() -> None:
    assert (
        document(
            document_id="x" * 512,
            text="y" * 2_000_000,
            metadata={f"k{n}": n for n in range(64)},
        ).problem
        == ""
    )


def test_all_problems_of_a_document_are_said_at_once() -> None:
    problem = document(document_id="", text="", metadata={"k": None}).problem
    assert problem.split("; ") == [
        "document_id must have 1 to 512 characters",
        "text must not be empty or blank",
        "metadata.k must be a string, number or bool",
    ]


@pytest.mark.parametrize(("name", "limit"), [("title", 1000), ("source", 4000)])
def test_a_title_and_a_source_have_a_limit(name: str, limit: int) -> None:
    fits = document_pb2.Document(document_id="d", text="t")
    setattr(fits, name, "x" * limit)
    assert wire_documents.document_from(fits).problem == ""
    setattr(fits, name, "x" * (limit + 1))
    assert wire_documents.document_from(fits).problem.startswith(name)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, MediaType.MARKDOWN),
        ({"media_type": "text/markdown"}, MediaType.MARKDOWN),
        ({"media_type": "text/plain"}, MediaType.PLAIN),
        (CONTENT, MediaType.PLAIN),
        ({**CONTENT, "media_type": "text/markdown"}, MediaType.MARKDOWN),
        ({**CONTENT, "media_type": "text/html"}, MediaType.HTML),
        ({**CONTENT, "media_type": "application/pdf"}, MediaType.PDF),
    ],
)
def test_a_document_is_a_text_or_a_file_of_a_known_kind(
    fields: dict[str, Any], expected: MediaType
) -> None:
    found = document(**fields)
    assert (found.problem, found.media_type) == ("", expected)
    assert (found.text, found.content) == (
        ("", b"x") if "content" in fields else ("Un texto.", b"")
    )


_OF_CONTENT = "text/plain, text/markdown, text/html, application/pdf with content"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"media_type": "text/html"},
            "media_type must be one of text/markdown, text/plain with text",
        ),
        ({**CONTENT, "text": "y"}, "content must be left out where text is set"),
        ({**CONTENT, "media_type": ""}, f"media_type must be one of {_OF_CONTENT}"),
        ({**CONTENT, "media_type": "image/png"}, f"media_type must be one of {_OF_CONTENT}"),
        (
            {**CONTENT, "media_type": "text/html; charset=x"},
            f"media_type must be one of {_OF_CONTENT}",
        ),
        ({"text": "", "media_type": "text/html"}, "text must not be empty or blank"),
    ],
)
def test_each_rule_of_a_body_is_the_documents_problem(fields: dict[str, Any], problem: str) -> None:
    assert document(**fields).problem == problem


def test_a_file_has_at_most_32_mib() -> None:
    message = document_pb2.Document(document_id="d", media_type="text/plain")
    message.content = b"x" * (32 * 1024 * 1024)
    found = wire_documents.document_from(message)
    assert (found.problem, len(found.content)) == ("", 32 * 1024 * 1024)
    message.content += b"x"
    found = wire_documents.document_from(message)
    assert (found.problem, found.content) == ("content must have at most 32 MiB: split it", b"")


@pytest.mark.parametrize(
    ("fields", "expected", "wrong"),
    [
        ({}, (None, 1), []),
        ({"chunk_tokens": 0, "chunk_overlap_sentences": 0}, (0, 0), []),
        ({"chunk_tokens": 8000, "chunk_overlap_sentences": 5}, (8000, 5), []),
        ({"chunk_overlap_sentences": 6}, (None, 6), ["options.chunk_overlap_sentences"]),
        ({"chunk_overlap_sentences": -1}, (None, -1), ["options.chunk_overlap_sentences"]),
    ],
)
def test_how_to_cut_is_read_and_the_overlap_has_its_limits(
    fields: dict[str, Any], expected: tuple[int | None, int], wrong: list[str]
) -> None:
    violations: list[Violation] = []
    found = wire_documents.chunk_settings(document_pb2.IndexOptions(**fields), violations)
    assert (found, [violation.field for violation in violations]) == (expected, wrong)


def test_fields_of_the_configuration_are_named_inside_the_options() -> None:
    violations = [
        Violation("model_configuration.seed", "must be less"),
        Violation("options.collection", "is wrong"),
    ]
    with pytest.raises(InvalidConfigurationError) as caught, wire_documents.in_options():
        raise InvalidConfigurationError(violations)
    error = caught.value
    assert [found.field for found in error.violations] == [
        "options.model_configuration.seed",
        "options.collection",
    ]
    assert str(error) == error.message
    assert error.message == "options.model_configuration.seed: must be less (and 1 more)"


def test_so_are_those_that_the_next_service_found() -> None:
    violation = Violation("model_configuration.embedding_model", "is unknown")
    with pytest.raises(RemoteError) as caught, wire_documents.in_options():
        raise RemoteError(
            Reason.INVALID_CONFIGURATION,
            "model_configuration.embedding_model: is unknown",
            violations=[violation],
        )
    assert caught.value.message.startswith("options.model_configuration.embedding_model: ")
    assert caught.value.violations[0].field == "options.model_configuration.embedding_model"


def test_an_error_of_no_field_stays_as_it_is() -> None:
    with pytest.raises(BudgetSpentError, match=r"^The model_configuration"):  # noqa: SIM117
        with wire_documents.in_options():
            raise BudgetSpentError("The model_configuration ended.")
