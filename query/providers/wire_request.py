"""Writes a chat call as the JSON that OpenAI, Groq and Mistral have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from query.providers.model import ChatCall, Message, ResponseFormat, Role, Tool, ToolCall

_UNNAMED_SCHEMA = "answer"


def request_body(
    call: ChatCall, *, max_tokens: str, seed: str = "seed", tool_names: bool = False
) -> dict[str, Any]:
    """The request without what only streams have.

    `max_tokens` and `seed` are the provider's names of these options; `tool_names` puts a tool's
    name beside its result.
    """
    options = call.options
    body: dict[str, Any] = {
        **options.provider,
        "model": call.model,
        "messages": _messages(call.messages, tool_names=tool_names),
    }
    numbers = {
        "temperature": options.temperature,
        max_tokens: options.max_tokens,
        "top_p": options.top_p,
        "frequency_penalty": options.frequency_penalty,
        "presence_penalty": options.presence_penalty,
        seed: options.seed,
    }
    body |= {name: value for name, value in numbers.items() if value is not None}
    if options.stop:
        body["stop"] = list(options.stop)
    if call.tools:
        body["tools"] = [_tool(tool) for tool in call.tools]
    if call.response_format is not None:
        body["response_format"] = _response_format(call.response_format)
    return body


def _messages(messages: Sequence[Message], *, tool_names: bool) -> list[dict[str, Any]]:
    names = {wish.id: wish.name for message in messages for wish in message.tool_calls}
    written = []
    for message in messages:
        entry: dict[str, Any] = {"role": str(message.role)}
        if message.text or not message.tool_calls:
            entry["content"] = message.text
        if message.tool_calls:
            entry["tool_calls"] = [_tool_call(wish) for wish in message.tool_calls]
        if message.role is Role.TOOL:
            entry["tool_call_id"] = message.tool_call_id
            if tool_names and message.tool_call_id in names:
                entry["name"] = names[message.tool_call_id]
        written.append(entry)
    return written


def _tool_call(wish: ToolCall) -> dict[str, Any]:
    function = {"name": wish.name, "arguments": wish.arguments}
    return {"id": wish.id, "type": "function", "function": function}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": _plain(tool.parameters)}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {
        "name": wanted.name or _UNNAMED_SCHEMA,
        "schema": _plain(wanted.schema),
        "strict": wanted.strict,
    }
    return {"type": "json_schema", "json_schema": schema}


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The SDKs write dicts only."""
    return dict(schema)
