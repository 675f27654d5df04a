"""The prompt for each target: the passages that fit, in the shape that its model can take."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from config_core.effective import Target
from query.prompt import Passage, Prompt, PromptRequest, Used, standard_prompt
from query.prompt_room import PromptRoom, in_process
from query.prompt_template import PromptTemplate
from query.providers.model import Message
from query.retrieval import Found, heading_of
from query.small_prompt import small_prompt
from query.tokens import estimate_tokens
from service_core.upstream.errors import ContextTooLongError


@dataclass(frozen=True, slots=True)
class TargetPrompt:
    """What one target is sent, and the passages in it: a citation [n] means `used[n - 1]`."""

    messages: tuple[Message, ...]
    used: tuple[Found, ...]
    stop: tuple[str, ...]


PromptFor = Callable[[Target], Awaitable[TargetPrompt]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a prompt is made of, whoever it is for."""

    question: str
    passages: Sequence[Found]
    """Most relevant first."""
    system_prompt: str | None = None
    history: Sequence[Message] = ()
    after: Sequence[Message] = ()
    """What followed the question: calls of tools and their results."""
    answer_tokens: int = 0
    """The most tokens that the answer may have."""


class Prompter:
    """Builds prompts within a model's context."""

    def __init__(
        self,
        room: PromptRoom,
        template: PromptTemplate,
        *,
        count_local_tokens: Callable[[str], int],
        small_local_model: bool,
    ) -> None:
        """`small_local_model` says that the model of this process follows no instructions."""
        self._room = room
        self._template = template
        self._count_local_tokens = count_local_tokens
        self._small_local_model = small_local_model

    def prompts(self, conversation: Conversation) -> PromptFor:
        """Give each target's prompt; built once for each shape and room."""
        built: dict[tuple[bool, int], TargetPrompt] = {}

        async def prompt_for(target: Target) -> TargetPrompt:
            local = in_process(target)
            room = self._room.tokens(target, conversation.answer_tokens)
            if (local, room) not in built:
                # The local model's tokenizer blocks, and loads the model where that is to be done.
                built[local, room] = (
                    await asyncio.to_thread(self._build, conversation, target, room)
                    if local
                    else self._build(conversation, target, room)
                )
            return built[local, room]

        return prompt_for

    def _build(self, conversation: Conversation, target: Target, room: int) -> TargetPrompt:
        local = in_process(target)
        offered: dict[Passage, Found] = {}
        for found in conversation.passages:
            offered.setdefault(_passage(found), found)
        request = PromptRequest(
            question=conversation.question,
            passages=tuple(offered),
            system_prompt=conversation.system_prompt or "",
            history=conversation.history,
            max_context_tokens=room,
            count_tokens=self._count_local_tokens if local else estimate_tokens,
            after=conversation.after,
            template=self._template,
        )
        small = local and self._small_local_model and bool(offered) and not conversation.after
        prompt = small_prompt(request) if small else standard_prompt(request)
        if offered and not prompt.used:
            raise ContextTooLongError(
                target.connection.provider,
                f"No passage fits beside the question into {room} tokens: ask a shorter question, "
                "or index the documents in smaller passages.",
            )
        return _of(prompt, offered)


def _passage(found: Found) -> Passage:
    hit, core = found.hit, found.core
    return Passage(
        hit.chunk_id, hit.document_id, heading_of(hit), hit.text, core.text if core else ""
    )


def _of(prompt: Prompt, offered: dict[Passage, Found]) -> TargetPrompt:
    def found(used: Used) -> Found:
        whole = offered[used.passage]
        if whole.core is None or used.text == whole.hit.text:
            return whole
        return Found(whole.collection, whole.core)

    return TargetPrompt(prompt.messages, tuple(map(found, prompt.used)), prompt.stop)
