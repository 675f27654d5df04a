"""One question on its way through the service."""

import time
from dataclasses import dataclass, field

from config_core.effective import EffectiveConfiguration, Target
from config_core.snapshot import Snapshot
from query.name import SERVICE
from query.prompting import Conversation, TargetPrompt
from query.providers.model import ChatCall, ChatOptions, ChatResult, Finished
from query.question import Question
from query.reranking import Reranking
from query.retrieval import Found
from service_core.deadline import Deadline
from service_core.retry import Attempts
from service_core.trace import Hop, HopReport


@dataclass(slots=True)
class Run:
    """What a question resolved to, and what is known of its answer so far."""

    question: Question
    snapshot: Snapshot
    effective: EffectiveConfiguration
    deadline: Deadline
    attempts: Attempts
    began: float
    reranking: Reranking | None = None
    passages: tuple[Found, ...] = ()
    hops: list[Hop] = field(default_factory=list)

    def report(self, result: ChatResult | Finished | None = None) -> HopReport:
        """The report of the chat at this hop."""
        return HopReport(
            SERVICE,
            self.effective,
            time.monotonic() - self.began,
            attempts=tuple(self.attempts.made),
            usage=result.usage if result else None,
            resolved_model=result.model if result else "",
        )

    @property
    def conversation(self) -> Conversation:
        """What the prompts are made of."""
        question = self.question
        return Conversation(
            question.message,
            self.passages,
            question.system_prompt,
            question.history,
            question.after,
            self.effective.values.max_tokens or 0,
        )

    def call(self, prompt: TargetPrompt, target: Target) -> ChatCall:
        """What a target is asked."""
        options = dict(target.options)
        options["stop"] = (*options.get("stop", ()), *prompt.stop)
        return ChatCall(
            connection=target.connection,
            model=target.model,
            messages=prompt.messages,
            options=ChatOptions(provider=target.provider_options, **options),
            tools=self.question.tools,
            response_format=self.question.response_format,
        )
