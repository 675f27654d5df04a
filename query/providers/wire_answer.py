"""Reads the chat answers and chunks that OpenAI, Groq, Mistral and llama.cpp have in common."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from query.providers.model import (
    ChatResult,
    Finished,
    FinishReason,
    StreamPart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from service_core.usage import Usage, reported_tokens

FAILED = "error"
"""Mistral's finish reason for a generation that failed."""

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class WireError(Exception):
    """An answer does not have the form of one; its text follows the provider's name."""


def read_answer(data: Mapping[str, Any], model: str, request_id: str) -> ChatResult:
    """The whole answer; `model` is for providers that do not name theirs. WireError."""
    choice = _first_choice(data)
    if choice is None:
        raise WireError("answered without a choice")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise WireError("answered without a message")
    reason = _finish_reason(choice)
    text = _text(message.get("content"))
    refusal = _text(message.get("refusal"))
    if refusal and not text:
        text, reason = refusal, FinishReason.CONTENT_FILTER
    return ChatResult(
        text=text,
        finish_reason=reason or FinishReason.UNKNOWN,
        usage=_usage(data) or Usage(),
        model=_model(data) or model,
        tool_calls=tuple(_tool_call(wish) for wish in _dicts(message.get("tool_calls"))),
        request_id=request_id,
    )


class StreamReader:
    """Gathers what the chunks of one stream say about its end, and gives their parts."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._refused = False
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._ids: list[str] = []
        self._names: list[str] = []
        self._arguments: list[str] = []
        self._places: dict[int, int] = {}

    @property
    def finished(self) -> bool:
        """Whether the finish reason has come: what follows is usage at most."""
        return self._reason is not None

    @property
    def complete(self) -> bool:
        """Whether the usage has come too."""
        return self.finished and self._usage is not None

    def read(self, data: Mapping[str, Any]) -> Iterator[StreamPart]:
        """Give the parts of one chunk. WireError."""
        self._model = _model(data) or self._model
        self._usage = _usage(data) or self._usage
        choice = _first_choice(data)
        if choice is None:
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            if text := _text(delta.get("content")):
                yield TextDelta(text)
            if refusal := _text(delta.get("refusal")):
                self._refused = True
                yield TextDelta(refusal)
            for wish in _dicts(delta.get("tool_calls")):
                yield self._tool_call_delta(wish)
        self._reason = _finish_reason(choice) or self._reason

    def end(self, request_id: str) -> Finished:
        """The last part of a stream whose finish reason has come."""
        reason = FinishReason.CONTENT_FILTER if self._refused else self._reason
        return Finished(
            reason or FinishReason.UNKNOWN, self._usage or Usage(), self._model, request_id
        )

    def _tool_call_delta(self, wish: Mapping[str, Any]) -> ToolCallDelta:
        """Count the calls by their ids: some providers give each of several the index 0."""
        call = _tool_call(wish)
        index = wish.get("index")
        place = index if isinstance(index, int) else 0
        known = self._places.get(place)
        if known is None or self._is_another(call, known):
            known = self._places[place] = len(self._ids)
            self._ids.append("")
            self._names.append("")
            self._arguments.append("")
        late_id = "" if self._ids[known] else call.id
        late_name = "" if self._names[known] else call.name
        self._ids[known] += late_id
        self._names[known] += late_name
        self._arguments[known] += call.arguments
        return ToolCallDelta(known, call.arguments, late_id, late_name)

    def _is_another(self, call: ToolCall, known: int) -> bool:
        """Whether it is not the next piece of a known call; ids may be given twice."""
        if call.id and call.id != self._ids[known]:
            return bool(self._ids[known] or call.name)  # else the id comes late
        return bool(call.name and call.arguments) and _is_whole(self._arguments[known])


def _first_choice(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next(iter(_dicts(data.get("choices"))), None)


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return (item for item in items if isinstance(item, dict))


def _finish_reason(choice: Mapping[str, Any]) -> FinishReason | None:
    reason = choice.get("finish_reason")
    if not reason:
        return None
    if reason == FAILED:
        raise WireError("reported that its generation failed")
    return _FINISH_REASONS.get(str(reason), FinishReason.UNKNOWN)


def _text(content: object) -> str:
    """Text, or the text among Mistral's content chunks; its thinking is left out."""
    if isinstance(content, str):
        return content
    return "".join(
        chunk["text"]
        for chunk in _dicts(content)
        if chunk.get("type") == "text" and isinstance(chunk.get("text"), str)
    )


def _tool_call(wish: Mapping[str, Any]) -> ToolCall:
    function = wish.get("function")
    if not isinstance(function, dict):
        raise WireError("asked for a tool without naming a function")
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(str(wish.get("id") or ""), str(function.get("name") or ""), arguments)


def _is_whole(arguments: str) -> bool:
    """Whether nothing can follow: a JSON object that is complete."""
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _model(data: Mapping[str, Any]) -> str:
    model = data.get("model")
    return model if isinstance(model, str) else ""


def _usage(data: Mapping[str, Any]) -> Usage | None:
    """Groq's streams may carry it in `x_groq`."""
    usage = data.get("usage")
    if not isinstance(usage, dict):
        own = data.get("x_groq")
        usage = own.get("usage") if isinstance(own, dict) else None
    if not isinstance(usage, dict):
        return None
    return Usage(
        reported_tokens(usage.get("prompt_tokens")), reported_tokens(usage.get("completion_tokens"))
    )
