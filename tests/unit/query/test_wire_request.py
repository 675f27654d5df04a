import math
from typing import Any

import pytest
from cascada.common.v1 import chat_pb2, retrieval_pb2
from cascada.query.v1 import query_service_pb2 as pb
from google.protobuf import json_format, struct_pb2

from config_core.errors import Reason, Violation
from query import wire_request as wire
from query.providers.model import Message, ResponseFormat, Role, Tool, ToolCall
from query.retrieval import Retrieval
from query.store import Equals, Filter, OneOf, Range, SearchMode
from query.store.model import MAX_CONDITIONS

OK = {"collections": ["cities"]}


def retrieval(**fields: Any) -> tuple[Retrieval, list[str]]:
    """What a retrieval's JSON becomes, and the paths of what is wrong with it."""
    violations: list[Violation] = []
    message = json_format.ParseDict({**OK, **fields}, retrieval_pb2.Retrieval())
    found = wire.retrieval_from(message, violations)
    assert {violation.reason for violation in violations} <= {Reason.INVALID_ARGUMENT}
    return found, [violation.field for violation in violations]


def history(*turns: dict[str, Any]) -> tuple[list[Message], list[str]]:
    """What turns become, and the paths of what is wrong with them."""
    violations: list[Violation] = []
    messages = [json_format.ParseDict(turn, chat_pb2.Turn()) for turn in turns]
    return wire.history_from(messages, violations), [found.field for found in violations]


def tools(*names: str) -> list[str]:
    """The paths of what is wrong with tools of these names."""
    violations: list[Violation] = []
    wire.tools_from([chat_pb2.Tool(name=name) for name in names], violations)
    return [found.field for found in violations]


@pytest.mark.parametrize("text", ["", " \n\t", "\u2003", "\u200b", "\x00", "\u202e \ufeff"])
def test_a_text_that_says_nothing_is_refused(text: str) -> None:
    violations: list[Violation] = []
    wire.check_text("message", text, 10, violations)
    assert violations == [
        Violation("message", "must not be empty or blank", Reason.INVALID_ARGUMENT)
    ]


@pytest.mark.parametrize(("length", "wrong"), [(1, 0), (10, 0), (11, 1)])
def test_a_text_has_at_most_its_limit_of_characters(length: int, wrong: int) -> None:
    violations: list[Violation] = []
    wire.check_text("message", "ñ" * length, 10, violations)
    assert len(violations) == wrong


@pytest.mark.parametrize("name", ["c", "ciudades de España", "a/b", "名" * 128])
def test_a_printable_name_of_up_to_128_characters_is_a_collection(name: str) -> None:
    assert retrieval(collections=[name])[1] == []


@pytest.mark.parametrize("name", ["", " c", "c ", "a\nb", "\x00", "x" * 129, "\u200b"])
def test_any_other_name_is_none(name: str) -> None:
    assert retrieval(collections=[name])[1] == ["retrieval.collections[0]"]


def test_what_is_absent_has_the_defaults_of_the_contract() -> None:
    assert retrieval()[0] == Retrieval(
        ("cities",), 5, None, SearchMode.HYBRID, Filter(), None, 0, rerank=False
    )


def test_a_collection_that_is_named_twice_is_searched_once() -> None:
    assert retrieval(collections=["b", "a", "b"])[0].collections == ("b", "a")


def test_sixteen_collections_are_searched_and_seventeen_refused() -> None:
    names = [f"c{number}" for number in range(17)]
    assert retrieval(collections=names[:16])[1] == []
    assert retrieval(collections=names)[1] == ["retrieval.collections"]
    assert retrieval(collections=[])[1] == ["retrieval.collections"]


def test_the_place_of_a_bad_name_is_its_place_in_the_request() -> None:
    assert retrieval(collections=["a", "a", "", "b"])[1] == ["retrieval.collections[2]"]


@pytest.mark.parametrize(("top_k", "right"), [(0, False), (1, True), (100, True), (101, False)])
def test_top_k_is_1_to_100_and_zero_is_not_absent(top_k: int, right: bool) -> None:  # noqa: FBT001 # pytest gives it
    assert (retrieval(top_k=top_k)[1] == []) is right


@pytest.mark.parametrize(
    ("threshold", "right"),
    [(-1.0, True), (0.0, True), (1.0, True), (1.001, False), ("NaN", False), ("-Infinity", False)],
)
def test_a_threshold_is_a_cosine(threshold: object, right: bool) -> None:  # noqa: FBT001 # pytest gives it
    found, wrong = retrieval(similarity_threshold=threshold)
    assert wrong == ([] if right else ["retrieval.similarity_threshold"])
    assert not right or found.similarity_threshold == threshold


@pytest.mark.parametrize(
    ("mmr_lambda", "right"),
    [(0.0, True), (0.5, True), (1.0, True), (-0.001, False), (1.001, False), ("NaN", False)],
)
def test_the_weight_of_relevance_is_a_share(mmr_lambda: object, right: bool) -> None:  # noqa: FBT001 # pytest gives it
    found, wrong = retrieval(mmr_lambda=mmr_lambda)
    assert wrong == ([] if right else ["retrieval.mmr_lambda"])
    assert not right or found.mmr_lambda == mmr_lambda


@pytest.mark.parametrize(("neighbours", "right"), [(-1, False), (0, True), (5, True), (6, False)])
def test_up_to_five_neighbours_are_joined(neighbours: int, right: bool) -> None:  # noqa: FBT001 # pytest gives it
    found, wrong = retrieval(neighbours=neighbours)
    assert wrong == ([] if right else ["retrieval.neighbours"])
    assert not right or found.neighbours == neighbours


@pytest.mark.parametrize("rerank", [False, True])
def test_a_chat_model_orders_the_passages_where_it_is_asked_for(rerank: bool) -> None:  # noqa: FBT001 # pytest gives it
    assert retrieval(rerank=rerank)[0].rerank is rerank


def test_each_mode_of_the_contract_is_known_and_no_other() -> None:
    modes = {
        "RETRIEVAL_MODE_UNSPECIFIED": SearchMode.HYBRID,
        "RETRIEVAL_MODE_DENSE": SearchMode.DENSE,
        "RETRIEVAL_MODE_FULL_TEXT": SearchMode.FULL_TEXT,
        "RETRIEVAL_MODE_HYBRID": SearchMode.HYBRID,
    }
    assert set(modes) == set(retrieval_pb2.RetrievalMode.keys())
    assert {name: retrieval(mode=name)[0].mode for name in modes} == modes
    assert retrieval(mode=77)[1] == ["retrieval.mode"]


def test_a_filter_has_documents_and_conditions() -> None:
    found, wrong = retrieval(
        filter={
            "document_ids": ["a", "b", "a"],
            "conditions": [
                {"key": "k", "equals": True},
                {"key": "k", "any_of": [1, "x", 2.5]},
                {"key": "k", "range": {"gt": 0, "lte": 9}},
            ],
        }
    )
    assert wrong == []
    assert found.filter == Filter(
        frozenset({"a", "b"}),
        (Equals("k", True), OneOf("k", (1, "x", 2.5)), Range("k", gt=0, lte=9)),  # noqa: FBT003 # a value
    )


def test_an_empty_filter_is_none() -> None:
    assert not retrieval(filter={})[0].filter


@pytest.mark.parametrize(
    "condition",
    [
        {"key": "k"},
        {"key": "k", "equals": None},
        {"key": "k", "equals": {"a": 1}},
        {"key": "k", "any_of": ["x", [1]]},
        {"key": "k", "any_of": [None]},
        {"key": "k", "range": {"gte": "NaN"}},
        {"key": "k", "range": {"lt": "Infinity"}},
        {"key": "k", "any_of": ["x"] * 1001},
    ],
)
def test_a_condition_that_can_not_hold_is_refused_at_its_place(condition: dict[str, Any]) -> None:
    good = {"key": "k", "equals": 1}
    _, wrong = retrieval(filter={"conditions": [good, condition]})
    assert wrong == ["retrieval.filter.conditions[1]"]


def test_a_condition_needs_a_key() -> None:
    _, wrong = retrieval(filter={"conditions": [{"equals": 1}]})
    assert wrong == ["retrieval.filter.conditions[0].key"]


def test_too_many_conditions_are_refused_together() -> None:
    conditions = [{"key": "k", "equals": n} for n in range(MAX_CONDITIONS + 1)]
    assert retrieval(filter={"conditions": conditions[:-1]})[1] == []
    assert retrieval(filter={"conditions": conditions})[1] == ["retrieval.filter.conditions"]


def test_everything_that_is_wrong_with_a_retrieval_is_said_at_once() -> None:
    _, wrong = retrieval(
        collections=["", "x" * 129],
        top_k=-1,
        similarity_threshold=2,
        mmr_lambda=2,
        neighbours=6,
        mode=77,
        filter={"conditions": [{"key": ""}]},
    )
    assert wrong == [
        "retrieval.collections[0]",
        "retrieval.collections[1]",
        "retrieval.top_k",
        "retrieval.similarity_threshold",
        "retrieval.mmr_lambda",
        "retrieval.neighbours",
        "retrieval.mode",
        "retrieval.filter.conditions[0].key",
        "retrieval.filter.conditions[0]",
    ]


def test_turns_become_messages_whatever_the_case_of_their_role() -> None:
    found, wrong = history(
        {"role": "User", "text": "Hola"},
        {"role": "ASSISTANT ", "tool_calls": [{"id": "1", "name": "clock", "arguments": "{}"}]},
        {"role": "tool", "text": "Las tres", "tool_call_id": "1"},
    )
    assert wrong == []
    assert found == [
        Message(Role.USER, "Hola"),
        Message(Role.ASSISTANT, "", (ToolCall("1", "clock", "{}"),)),
        Message(Role.TOOL, "Las tres", (), "1"),
    ]


@pytest.mark.parametrize("role", ["", "system", "developer"])
def test_no_other_role_enters_the_history(role: str) -> None:
    assert history({"role": "user"}, {"role": role})[1] == ["history[1].role"]


def test_a_tools_turn_names_its_call() -> None:
    assert history({"role": "tool", "text": "x"})[1] == ["history[0].tool_call_id"]


@pytest.mark.parametrize("role", ["user", "tool"])
def test_only_the_assistant_calls_tools(role: str) -> None:
    turn = {"role": role, "text": "x", "tool_calls": [{"id": "1", "name": "clock"}]}
    answered = {"tool_call_id": "1"} if role == "tool" else {}
    assert history(turn | answered)[1] == ["history[0].tool_calls"]


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_only_a_tools_turn_answers_a_call(role: str) -> None:
    turn = {"role": role, "text": "x", "tool_call_id": "1"}
    assert history(turn)[1] == ["history[0].tool_call_id"]


def test_two_hundred_turns_are_the_most_and_bad_ones_count() -> None:
    turns = [{"role": "user", "text": "x"}] * 200
    assert history(*turns)[1] == []
    assert history(*turns, {"role": "user"})[1] == ["history"]
    assert history(*turns, {"role": "?"})[1] == ["history[200].role", "history"]


@pytest.mark.parametrize("name", ["a", "get_time", "x-1", "_", "-", "A" * 64])
def test_a_tool_has_a_plain_name(name: str) -> None:
    assert tools(name) == []


@pytest.mark.parametrize("name", ["", "a b", "ñ", "a.b", "A" * 65, "٣"])
def test_any_other_name_of_a_tool_is_refused(name: str) -> None:
    assert tools("ok", name) == ["tools[1].name"]


def test_128_tools_are_the_most() -> None:
    names = [f"t{number}" for number in range(129)]
    assert tools(*names[:128]) == []
    assert tools(*names) == ["tools"]


def test_a_tool_without_parameters_takes_none() -> None:
    bare = json_format.ParseDict({"name": "t"}, chat_pb2.Tool())
    full = json_format.ParseDict(
        {"name": "u", "description": "d", "parameters": {"type": "object", "maxProperties": 3}},
        chat_pb2.Tool(),
    )
    assert wire.tools_from([bare, full], []) == (
        Tool("t", "", {"type": "object", "properties": {}}),
        Tool("u", "d", {"type": "object", "maxProperties": 3}),
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, None),
        ({"json_object": {}}, ResponseFormat()),
        (
            {"json_schema": {"name": "n", "schema": {"type": "object"}}},
            ResponseFormat({"type": "object"}, "n", strict=True),
        ),
        (
            {"json_schema": {"name": "n", "schema": {}, "strict": False}},
            ResponseFormat({}, "n", strict=False),
        ),
    ],
)
def test_each_form_of_an_answer_is_read(
    message: dict[str, Any], expected: ResponseFormat | None
) -> None:
    violations: list[Violation] = []
    found = json_format.ParseDict(message, chat_pb2.ResponseFormat())
    assert wire.response_format_from(found, violations) == expected
    assert violations == []


def test_a_schema_needs_a_name_and_a_schema() -> None:
    violations: list[Violation] = []
    message = json_format.ParseDict({"json_schema": {}}, chat_pb2.ResponseFormat())
    wire.response_format_from(message, violations)
    assert [found.field for found in violations] == [
        "response_format.json_schema.name",
        "response_format.json_schema.schema",
    ]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_schema_has_finite_numbers_only(number: float) -> None:
    violations: list[Violation] = []
    schema = struct_pb2.Struct()
    schema.get_or_create_struct("properties").get_or_create_list("enum").append(number)
    form = chat_pb2.ResponseFormat()
    form.json_schema.name = "n"
    form.json_schema.schema.CopyFrom(schema)
    wire.response_format_from(form, violations)
    wire.tools_from([chat_pb2.Tool(name="t", parameters=schema)], violations)
    assert [found.field for found in violations] == [
        "response_format.json_schema.schema",
        "tools[0].parameters",
    ]


def test_an_optional_text_that_is_empty_is_not_absent() -> None:
    assert wire.optional(pb.QueryRequest(), "system_prompt") is None
    assert wire.optional(pb.QueryRequest(system_prompt=""), "system_prompt") == ""
