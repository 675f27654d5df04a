"""What goes to a chat provider and what comes back, free of any provider's own types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue

from config_core.connection import Connection
from service_core.usage import Usage


class Role(StrEnum):
    """Who said a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class FinishReason(StrEnum):
    """Why the model stopped; UNKNOWN where the provider gave no reason that is known here."""

    UNKNOWN = "unknown"
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's wish to run a tool; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask for; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The form of the answer: any JSON object, or one that follows `schema` (named `name`)."""

    schema: Mapping[str, JsonValue] | None = None
    name: str = ""
    strict: bool = True


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Sampling and limits that the model takes; `None` leaves the provider's default."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    provider: Mapping[str, JsonValue] = field(default_factory=dict)
    """Options of provider_configs for this provider, by name."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One attempt: where to, which model, what to say. Time limits are the caller's business."""

    connection: Connection
    model: str
    messages: tuple[Message, ...]
    options: ChatOptions = ChatOptions()
    tools: tuple[Tool, ...] = ()
    response_format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str
    """The model that the provider says has answered."""
    tool_calls: tuple[ToolCall, ...] = ()
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next piece of the tool call at `index`; `id` and `name` come with its first piece."""

    index: int
    arguments: str
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a stream that is whole."""

    finish_reason: FinishReason
    usage: Usage
    model: str
    request_id: str = ""


StreamPart = TextDelta | ToolCallDelta | Finished
