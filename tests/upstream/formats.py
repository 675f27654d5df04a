"""Writes what OpenAI, Groq and Mistral answer, in their own JSON, from the same few facts."""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config_core.model_configuration import ModelProvider

DONE = b"data: [DONE]\n\n"
NATIVE_DIMENSIONS = 8

REQUEST_ID_HEADER = {
    ModelProvider.OPENAI: "x-request-id",
    ModelProvider.GROQ: "x-request-id",
    ModelProvider.MISTRAL: "mistral-correlation-id",
}


@dataclass(frozen=True)
class Wish:
    """A tool call that the model makes."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Content:
    """What the model says; a stream gives each of `pieces`, and each tool call in two parts."""

    pieces: Sequence[str] = ("Hola, ", "¿qué ", "tal? ", "你好 ", "🌍")
    tool_calls: Sequence[Wish] = ()
    finish_reason: str | None = "stop"
    usage: tuple[int, int] = (7, 3)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def completion(content: Content, model: str) -> dict[str, Any]:
    """A whole chat answer."""
    message: dict[str, Any] = {"role": "assistant", "content": content.text or None}
    if content.tool_calls:
        message["tool_calls"] = [_whole(wish) for wish in content.tool_calls]
    choice = {"index": 0, "message": message, "finish_reason": content.finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [choice],
        "usage": _usage(content),
    }


def chunks(provider: ModelProvider, content: Content, body: Mapping[str, Any]) -> list[bytes]:
    """A whole stream, event by event: role, pieces, finish reason, usage, `[DONE]`."""
    model = str(body["model"])
    events = [_chunk(model, {"role": "assistant", "content": ""})]
    events += [_chunk(model, {"content": piece}) for piece in content.pieces]
    for index, wish in enumerate(content.tool_calls):
        events += [_chunk(model, delta) for delta in _deltas(provider, index, wish)]
    last = _chunk(model, {"content": ""} if provider is ModelProvider.MISTRAL else {})
    last["choices"][0]["finish_reason"] = content.finish_reason
    events.append(last)
    if provider is ModelProvider.MISTRAL:
        last["usage"] = _usage(content)
    elif provider is ModelProvider.GROQ:
        last["x_groq"] = {"id": "req_1", "usage": _usage(content)}
    elif body.get("stream_options", {}).get("include_usage"):
        events.append({**_chunk(model, {}), "choices": [], "usage": _usage(content)})
    return [*(event(data) for data in events), DONE]


def event(data: object, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def error_body(
    provider: ModelProvider, status: int, message: str, code: str, kind: str
) -> dict[str, Any]:
    """An error as the provider writes it."""
    if provider is ModelProvider.MISTRAL:
        return {
            "object": "error",
            "message": message,
            "type": kind or "invalid_request_error",
            "param": None,
            "code": code or str(status),
        }
    return {
        "error": {
            "message": message,
            "type": kind or "invalid_request_error",
            "param": None,
            "code": code or None,
        }
    }


def vector(text: str, dimensions: int = NATIVE_DIMENSIONS) -> list[float]:
    """A vector that tells texts apart, exact in float32."""
    seed = hashlib.shake_256(text.encode()).digest(dimensions)
    return [(byte - 127.5) / 128 for byte in seed]


def embeddings(body: Mapping[str, Any], vectors: Sequence[Sequence[float]]) -> dict[str, Any]:
    """An answer with these vectors, in the encoding that was asked for."""
    encoded = body.get("encoding_format") == "base64"
    return {
        "id": "embd-1",
        "object": "list",
        "model": body["model"],
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(values) if encoded else list(values),
            }
            for index, values in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0},
    }


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _chunk(model: str, delta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }


def _deltas(provider: ModelProvider, index: int, wish: Wish) -> list[dict[str, Any]]:
    if provider is ModelProvider.MISTRAL:  # whole, and each with the index 0
        return [{"content": "", "tool_calls": [{"index": 0, **_whole(wish)}]}]
    half = len(wish.arguments) // 2
    first = {"index": index, **_whole(Wish(wish.id, wish.name, wish.arguments[:half]))}
    rest = {"index": index, "function": {"arguments": wish.arguments[half:]}}
    return [{"tool_calls": [first]}, {"tool_calls": [rest]}]


def _whole(wish: Wish) -> dict[str, Any]:
    function = {"name": wish.name, "arguments": wish.arguments}
    return {"id": wish.id, "type": "function", "function": function}


def _usage(content: Content) -> dict[str, int]:
    prompt, completion_tokens = content.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
    }
