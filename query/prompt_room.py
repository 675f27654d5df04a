"""How many tokens a prompt may have, for each model."""

from dataclasses import dataclass

from config_core.capabilities import MATRIX
from config_core.effective import Target
from config_core.model_configuration import ModelProvider


def in_process(target: Target) -> bool:
    """Whether the target is the model of this process."""
    return target.connection.protocol is ModelProvider.LOCAL


@dataclass(frozen=True, slots=True)
class PromptRoom:
    """The operator's limit, and what each model's own context leaves of it.

    The answer has its room in the context too, but never more than half of it.
    """

    max_context_tokens: int
    """The most tokens of any prompt."""
    local_context_tokens: int
    """The context of the model of this process, prompt and answer together."""

    def tokens(self, target: Target, answer_tokens: int) -> int:
        """The most tokens of a prompt to this target, for an answer of so many."""
        if in_process(target):
            context: int | None = self.local_context_tokens
        else:
            chat = MATRIX[target.connection.provider].chat
            context = chat.context_tokens.get(target.model) if chat else None
        if context is None:
            return self.max_context_tokens
        return min(self.max_context_tokens, context - min(answer_tokens, context // 2))
