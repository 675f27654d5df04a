"""A question, as the service answers it."""

from collections.abc import Sequence
from dataclasses import dataclass

from config_core.sources.request import Incoming
from query.providers.model import Message, ResponseFormat, Tool
from query.retrieval import Retrieval
from service_core.request_context import RequestContext


@dataclass(frozen=True, slots=True)
class Question:
    """One request, already checked."""

    context: RequestContext
    message: str
    incoming: Incoming
    time_remaining: float | None
    """What the caller's deadline leaves, in seconds; `None` without one."""
    retrieval: Retrieval | None = None
    system_prompt: str | None = None
    history: Sequence[Message] = ()
    """Earlier turns."""
    after: Sequence[Message] = ()
    """What followed the message: the model's calls of tools and their results, to go on from."""
    tools: tuple[Tool, ...] = ()
    response_format: ResponseFormat | None = None
