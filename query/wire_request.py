"""Requests of the query service as domain types, with everything that is wrong with them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cascada.common.v1 import chat_pb2, retrieval_pb2
from cascada.query.v1 import query_service_pb2 as pb

from config_core.convert import dict_from_struct, value_from_struct
from config_core.errors import Violation
from query.providers.model import Message, ResponseFormat, Role, Tool, ToolCall
from query.retrieval import DEFAULT_TOP_K, MAX_NEIGHBOURS, MAX_TOP_K, Retrieval
from query.store import Condition, Equals, Filter, OneOf, Range, SearchMode
from query.visibility import is_visible
from service_core.request_context import MAX_COLLECTIONS, invalid

MAX_MESSAGE_CHARACTERS = 200_000
MAX_QUERY_CHARACTERS = 20_000
MAX_HISTORY = 200
MAX_TOOLS = 128
MAX_NAME_LENGTH = 128

_MODES = {
    retrieval_pb2.RETRIEVAL_MODE_UNSPECIFIED: SearchMode.HYBRID,
    retrieval_pb2.RETRIEVAL_MODE_DENSE: SearchMode.DENSE,
    retrieval_pb2.RETRIEVAL_MODE_FULL_TEXT: SearchMode.FULL_TEXT,
    retrieval_pb2.RETRIEVAL_MODE_HYBRID: SearchMode.HYBRID,
}
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "tool": Role.TOOL}

Violations = list[Violation]


def check_text(field: str, text: str, limit: int, violations: Violations) -> None:
    """A text that has to say something, within its limit of characters."""
    if not is_visible(text):
        violations.append(invalid(field, "must not be empty or blank"))
    elif len(text) > limit:
        violations.append(invalid(field, f"must have at most {limit} characters"))


def check_collection(field: str, name: str, violations: Violations) -> None:
    """A collection's name."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH or not name.isprintable() or name != name.strip():
        violations.append(
            invalid(field, f"must be 1 to {MAX_NAME_LENGTH} printable characters, no outer spaces")
        )


def history_from(turns: Sequence[chat_pb2.Turn], violations: Violations) -> list[Message]:
    """Earlier turns as messages."""
    messages = []
    for index, turn in enumerate(turns):
        place = f"history[{index}]"
        role = _ROLES.get(turn.role.strip().lower())
        if role is None:
            violations.append(invalid(f"{place}.role", "must be user, assistant or tool"))
            continue
        if turn.tool_calls and role is not Role.ASSISTANT:
            violations.append(
                invalid(f"{place}.tool_calls", "must be left out: only the assistant calls tools")
            )
        if role is Role.TOOL and not turn.tool_call_id:
            violations.append(
                invalid(f"{place}.tool_call_id", "must name the call that is answered")
            )
        elif turn.tool_call_id and role is not Role.TOOL:
            violations.append(
                invalid(f"{place}.tool_call_id", "must be left out: only a tool answers a call")
            )
        calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in turn.tool_calls)
        messages.append(Message(role, turn.text, calls, turn.tool_call_id))
    if len(turns) > MAX_HISTORY:
        violations.append(invalid("history", f"must have at most {MAX_HISTORY} turns"))
    return messages


def tools_from(tools: Iterable[chat_pb2.Tool], violations: Violations) -> tuple[Tool, ...]:
    """The functions that the model may ask for."""
    found = []
    for index, tool in enumerate(tools):
        if not _is_identifier(tool.name):
            violations.append(
                invalid(f"tools[{index}].name", "must be 1 to 64 letters, digits, '_' or '-'")
            )
        parameters: dict[str, Any] = (
            dict_from_struct(tool.parameters)
            if tool.HasField("parameters")
            else {"type": "object", "properties": {}}
        )
        _check_schema(f"tools[{index}].parameters", parameters, violations)
        found.append(Tool(tool.name, tool.description, parameters))
    if len(found) > MAX_TOOLS:
        violations.append(invalid("tools", f"must be at most {MAX_TOOLS}"))
    return tuple(found)


def response_format_from(
    message: chat_pb2.ResponseFormat, violations: Violations
) -> ResponseFormat | None:
    """The form of the answer; `None` for free text."""
    kind = message.WhichOneof("format")
    if kind == "json_object":
        return ResponseFormat()
    if kind == "json_schema":
        asked = message.json_schema
        if not _is_identifier(asked.name):
            violations.append(
                invalid(
                    "response_format.json_schema.name",
                    "must be 1 to 64 letters, digits, '_' or '-'",
                )
            )
        if not asked.HasField("schema"):
            violations.append(invalid("response_format.json_schema.schema", "is missing"))
        schema = dict_from_struct(asked.schema)
        _check_schema("response_format.json_schema.schema", schema, violations)
        strict = asked.strict if asked.HasField("strict") else True
        return ResponseFormat(schema, asked.name, strict)
    return None


def retrieval_from(message: retrieval_pb2.Retrieval, violations: Violations) -> Retrieval:
    """What is to be searched."""
    names = tuple(dict.fromkeys(message.collections))
    if not 1 <= len(names) <= MAX_COLLECTIONS:
        violations.append(
            invalid("retrieval.collections", f"must be 1 to {MAX_COLLECTIONS} collections")
        )
    for index, name in enumerate(message.collections):
        check_collection(f"retrieval.collections[{index}]", name, violations)
    top_k = message.top_k if message.HasField("top_k") else DEFAULT_TOP_K
    if not 1 <= top_k <= MAX_TOP_K:
        violations.append(invalid("retrieval.top_k", f"must be 1 to {MAX_TOP_K}"))
    threshold = message.similarity_threshold if message.HasField("similarity_threshold") else None
    if threshold is not None and not -1 <= threshold <= 1:
        violations.append(invalid("retrieval.similarity_threshold", "must be -1 to 1"))
    mmr_lambda = message.mmr_lambda if message.HasField("mmr_lambda") else None
    if mmr_lambda is not None and not 0 <= mmr_lambda <= 1:
        violations.append(invalid("retrieval.mmr_lambda", "must be 0 to 1"))
    if not 0 <= message.neighbours <= MAX_NEIGHBOURS:
        violations.append(invalid("retrieval.neighbours", f"must be 0 to {MAX_NEIGHBOURS}"))
    mode = _MODES.get(message.mode)
    if mode is None:
        violations.append(invalid("retrieval.mode", "must be DENSE, FULL_TEXT or HYBRID"))
    return Retrieval(
        collections=names,
        top_k=top_k,
        similarity_threshold=threshold,
        mode=mode or SearchMode.HYBRID,
        filter=_filter(message.filter, violations),
        mmr_lambda=mmr_lambda,
        neighbours=message.neighbours,
        rerank=message.rerank,
    )


def optional(message: Any, field: str) -> Any:
    """The value of an optional field, `None` where it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def _filter(message: retrieval_pb2.Filter, violations: Violations) -> Filter:
    conditions = []
    for index, condition in enumerate(message.conditions):
        place = f"retrieval.filter.conditions[{index}]"
        if not condition.key:
            violations.append(invalid(f"{place}.key", "must not be empty"))
        try:
            conditions.append(_condition(condition))
        except ValueError as error:
            violations.append(invalid(place, str(error)))
    try:
        return Filter(frozenset(message.document_ids) or None, tuple(conditions))
    except ValueError as error:
        violations.append(invalid("retrieval.filter.conditions", str(error)))
        return Filter()


def _condition(message: retrieval_pb2.MetadataCondition) -> Condition:
    kinds: dict[str | None, Callable[[], Condition]] = {
        "equals": lambda: Equals(message.key, _scalar(value_from_struct(message.equals))),
        "any_of": lambda: OneOf(
            message.key,
            tuple(_scalar(value_from_struct(value)) for value in message.any_of.values),
        ),
        "range": lambda: Range(
            message.key,
            gte=optional(message.range, "gte"),
            gt=optional(message.range, "gt"),
            lte=optional(message.range, "lte"),
            lt=optional(message.range, "lt"),
        ),
    }
    kind = message.WhichOneof("test")
    if kind not in kinds:
        raise ValueError("must have one of equals, any_of or range")
    return kinds[kind]()


def _scalar(value: object) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("must compare with a string, number or bool")  # noqa: TRY004
    return value


def _check_schema(field: str, schema: object, violations: Violations) -> None:
    """A schema as it is sent on: JSON has finite numbers only."""
    values = [schema]
    for value in values:
        if isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, float) and not math.isfinite(value):
            violations.append(invalid(field, "must have finite numbers only"))
            return


def _is_identifier(name: str) -> bool:
    plain = name.replace("_", "").replace("-", "")
    return 1 <= len(name) <= 64 and name.isascii() and (plain.isalnum() or plain == "")


QueryMessage = pb.QueryRequest | pb.StreamQueryRequest
