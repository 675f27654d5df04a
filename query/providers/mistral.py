"""Mistral's chat."""

import hashlib
import re
from typing import Any

from query.providers.model import ChatCall
from query.providers.wire_chat import WireChat
from query.providers.wire_request import request_body

_TOOL_CALL_ID_LENGTH = 9
_TOOL_CALL_ID = re.compile(rf"[A-Za-z0-9]{{{_TOOL_CALL_ID_LENGTH}}}")


class MistralChat(WireChat):
    """Chat through the Mistral SDK. Its streams carry their usage unasked."""

    def body(self, call: ChatCall, *, stream: bool) -> dict[str, Any]:  # noqa: ARG002 # same for both
        """The request."""
        body = request_body(call, max_tokens="max_tokens", seed="random_seed", tool_names=True)
        for message in body["messages"]:
            for wish in message.get("tool_calls", ()):
                wish["id"] = _tool_call_id(wish["id"])
            if "tool_call_id" in message:
                message["tool_call_id"] = _tool_call_id(message["tool_call_id"])
        return body


def _tool_call_id(given: str) -> str:
    """The id as Mistral takes it; it refuses those of other providers, which a history may hold."""
    if _TOOL_CALL_ID.fullmatch(given):
        return given
    return hashlib.sha256(given.encode()).hexdigest()[:_TOOL_CALL_ID_LENGTH]
