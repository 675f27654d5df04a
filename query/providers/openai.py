"""OpenAI's chat, and that of every OpenAI-compatible endpoint."""

from typing import Any

from config_core.connection import PUBLIC_BASE_URL, Connection
from config_core.option_rules import is_reasoning_model
from query.providers.model import ChatCall
from query.providers.wire_chat import WireChat
from query.providers.wire_request import request_body


class OpenAIChat(WireChat):
    """Chat through the OpenAI SDK."""

    def body(self, call: ChatCall, *, stream: bool) -> dict[str, Any]:
        """The request; streams ask for their usage."""
        body = request_body(call, max_tokens=_max_tokens(call.connection, call.model))
        if stream:
            body["stream_options"] = {"include_usage": True}
        return body


def _max_tokens(connection: Connection, model: str) -> str:
    """OpenAI itself and its reasoning models want the newer name; other servers the old one."""
    own = connection.base_url.rstrip("/") == PUBLIC_BASE_URL[connection.protocol]
    if own or is_reasoning_model(connection.provider, model):
        return "max_completion_tokens"
    return "max_tokens"
