"""An answer, whole or as a stream of parts."""

from dataclasses import dataclass

from query.citations import Citation
from query.providers.model import FinishReason, TextDelta, ToolCall, ToolCallDelta
from service_core.retry import Restarted
from service_core.trace import Hop
from service_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `citations` has the passages that it was given from, in prompt order."""

    text: str
    citations: tuple[Citation, ...]
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason
    usage: Usage
    hops: tuple[Hop, ...]


AnswerEvent = TextDelta | ToolCallDelta | Restarted | Answer


class Collected:
    """The parts of a stream so far; a new start voids them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._calls: dict[int, ToolCall] = {}

    def add(self, part: TextDelta | ToolCallDelta | Restarted) -> None:
        """Take the next part."""
        if isinstance(part, Restarted):
            self.texts.clear()
            self._calls.clear()
        elif isinstance(part, TextDelta):
            self.texts.append(part.text)
        else:
            known = self._calls.get(part.index, ToolCall("", "", ""))
            self._calls[part.index] = ToolCall(
                known.id or part.id, known.name or part.name, known.arguments + part.arguments
            )

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the model asks for, put together from their pieces."""
        return tuple(self._calls[index] for index in sorted(self._calls))
