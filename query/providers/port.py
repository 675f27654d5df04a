"""The port through which the query service reaches chat models."""

from collections.abc import AsyncGenerator
from typing import Protocol

from query.providers.model import ChatCall, ChatResult, StreamPart


class ChatProvider(Protocol):
    """One provider's chat. Both calls raise only `UpstreamError`s, and never retry."""

    async def complete(self, call: ChatCall) -> ChatResult:
        """Answer in one piece."""
        ...

    def stream(self, call: ChatCall) -> AsyncGenerator[StreamPart, None]:
        """Answer piece by piece; the last part is `Finished`, without which the stream was cut.

        Closing the generator cancels the request to the provider at once.
        """
        ...

    async def aclose(self) -> None:
        """Release what the provider holds."""
        ...
