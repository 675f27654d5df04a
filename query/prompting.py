"""The prompt for each target: the passages that fit, in the shape that its model can take."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from config_core.effective import Target
from config_core.model_configuration import ModelProvider
from query.prompt import Passage, PromptRequest, PromptShape, build_prompt
from query.providers.model import Message
from query.retrieval import Found
from query.tokens import estimate_tokens
from service_core.upstream.errors import ContextTooLongError


@dataclass(frozen=True, slots=True)
class TargetPrompt:
    """What one target is sent, and the passages in it: a citation [n] means `used[n - 1]`."""

    messages: tuple[Message, ...]
    used: tuple[Found, ...]
    stop: tuple[str, ...]


PromptFor = Callable[[Target], Awaitable[TargetPrompt]]


class Prompter:
    """Builds prompts within a model's context."""

    def __init__(
        self,
        *,
        max_context_tokens: int,
        local_context_tokens: int,
        count_local_tokens: Callable[[str], int],
        small_local_model: bool,
    ) -> None:
        """Prompt and answer together stay within the context of the local model.

        Other models get prompts of at most `max_context_tokens`. `small_local_model` says that the
        local model follows no instructions.
        """
        self._max_context_tokens = max_context_tokens
        self._local_context_tokens = local_context_tokens
        self._count_local_tokens = count_local_tokens
        self._small_local_model = small_local_model

    def prompts(
        self,
        question: str,
        passages: Sequence[Found],
        system_prompt: str | None,
        history: Sequence[Message],
        answer_tokens: int,
        after: Sequence[Message] = (),
    ) -> PromptFor:
        """Give each target's prompt; built once for each shape."""
        built: dict[bool, TargetPrompt] = {}

        async def prompt_for(target: Target) -> TargetPrompt:
            in_process = target.connection.protocol is ModelProvider.LOCAL
            if in_process not in built:
                parts = (question, passages, system_prompt, history, answer_tokens, after, target)
                # The local model's tokenizer blocks, and loads the model where that is to be done.
                built[in_process] = (
                    await asyncio.to_thread(self._build, *parts)
                    if in_process
                    else self._build(*parts)
                )
            return built[in_process]

        return prompt_for

    def _build(
        self,
        question: str,
        passages: Sequence[Found],
        system_prompt: str | None,
        history: Sequence[Message],
        answer_tokens: int,
        after: Sequence[Message],
        target: Target,
    ) -> TargetPrompt:
        in_process = target.connection.protocol is ModelProvider.LOCAL
        if in_process:
            room = self._local_context_tokens - min(answer_tokens, self._local_context_tokens // 2)
        else:
            room = self._max_context_tokens
        by_id = {(found.collection, found.hit.chunk_id): found for found in passages}
        offered: dict[Passage, tuple[str, str]] = {}
        for key, found in by_id.items():
            hit = found.hit
            offered.setdefault(Passage(hit.chunk_id, hit.document_id, hit.title, hit.text), key)
        prompt = build_prompt(
            PromptRequest(
                question=question,
                passages=tuple(offered),
                system_prompt=system_prompt or "",
                history=history,
                max_context_tokens=room,
                count_tokens=self._count_local_tokens if in_process else estimate_tokens,
                after=after,
            ),
            PromptShape.SMALL if in_process and self._small_local_model else PromptShape.STANDARD,
        )
        if passages and not prompt.used:
            raise ContextTooLongError(
                target.connection.provider,
                f"No passage fits beside the question into {room} tokens: ask a shorter question, "
                "or index the documents in smaller passages.",
            )
        return TargetPrompt(
            prompt.messages, tuple(by_id[offered[used]] for used in prompt.used), prompt.stop
        )
