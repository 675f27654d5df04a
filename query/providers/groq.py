"""Groq's chat."""

from typing import Any

from query.providers.model import ChatCall
from query.providers.wire_chat import WireChat
from query.providers.wire_request import request_body


class GroqChat(WireChat):
    """Chat through the Groq SDK. Its streams carry their usage unasked, in `x_groq`."""

    def body(self, call: ChatCall, *, stream: bool) -> dict[str, Any]:  # noqa: ARG002 # same for both
        """The request."""
        return request_body(call, max_tokens="max_completion_tokens")
