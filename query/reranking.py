"""Reranking: the request's chat model orders the candidates of a search.

The model sees the passages as numbered data and answers with an order. Whatever it answers, nothing
is added or lost: numbers that no passage has are ignored, and passages that it does not name keep
the order of the search behind those that it does. If it cannot be asked, the order of the search
holds, and the trace shows the attempts; only what is wrong with the request's own configuration or
credential is the request's error.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from config_core.effective import DroppedOption, EffectiveConfiguration, Skip, Target
from config_core.errors import (
    CapabilityUnsupportedError,
    CascadaError,
    Reason,
    Violation,
)
from config_core.model_configuration import FallbackCondition, ModelProvider
from query.name import SERVICE
from query.prompt_room import PromptRoom, in_process
from query.providers.model import ChatCall, ChatOptions, ChatResult, ResponseFormat
from query.providers.port import ChatProvider
from query.ranking import ranking_prompt, read_order
from query.retrieval import MAX_RANKED, Found, Retrieval, scored_by_rank
from service_core.deadline import Deadline
from service_core.retry import UpstreamCalls
from service_core.trace import HopReport

_SHARE_OF_TIME = 0.5
"""How much of what is left of a deadline the order may take: the answer comes after it."""
_OF_THE_REQUEST = frozenset(
    {
        Reason.INVALID_CONFIGURATION,
        Reason.POLICY_VIOLATION,
        Reason.CAPABILITY_UNSUPPORTED,
        Reason.CREDENTIAL_MISSING,
        Reason.CALLER_CREDENTIAL_REJECTED,
        Reason.MODEL_NOT_FOUND,
    }
)
_UNABLE = "the bundled local model can't order passages"


class Reranker:
    """Prepares the order by a chat model."""

    def __init__(
        self,
        providers: Mapping[ModelProvider, ChatProvider],
        upstream: UpstreamCalls,
        room: PromptRoom,
        *,
        small_local_model: bool,
    ) -> None:
        """`small_local_model` says that the model of this process follows no instructions."""
        self._providers = providers
        self._upstream = upstream
        self._room = room
        self._small_local_model = small_local_model

    def prepare(self, effective: EffectiveConfiguration) -> "Reranking":
        """The order by this chat configuration; raises what is wrong with it, with its report."""
        try:
            return Reranking(self._providers, self._upstream, self._room, self._able(effective))
        except CascadaError as error:
            error.hops = (HopReport(SERVICE, effective, 0.0),)
            raise

    def _able(self, effective: EffectiveConfiguration) -> EffectiveConfiguration:
        """The same without what can't order passages, and without options that would spoil it."""
        targets = tuple(map(self._skipped_if_unable, effective.targets))
        fallbacks = effective.values.fallbacks
        conditions = fallbacks.fallback_on if fallbacks else ()
        primary = effective.primary
        refused = targets[0].skip is not primary.skip and (
            FallbackCondition.CAPABILITY_UNSUPPORTED not in conditions
            or all(target.skip is not None for target in targets)
        )
        if refused:
            raise CapabilityUnsupportedError(
                [
                    Violation(
                        "retrieval.rerank",
                        f"{_UNABLE}: name another chat provider, or leave rerank out",
                        Reason.CAPABILITY_UNSUPPORTED,
                        {
                            "provider": str(primary.connection.provider),
                            "model": primary.model,
                            "capability": "rerank",
                        },
                    )
                ]
            )
        if primary.skip is None and primary.problem is not None:
            raise primary.problem
        return _without_stop(replace(effective, targets=targets))

    def _skipped_if_unable(self, target: Target) -> Target:
        if target.skip is not None or not (in_process(target) and self._small_local_model):
            return target
        return replace(target, skip=Skip(Reason.CAPABILITY_UNSUPPORTED, _UNABLE))


@dataclass(frozen=True, slots=True)
class Reranking:
    """The order by one chat configuration."""

    _providers: Mapping[ModelProvider, ChatProvider]
    _upstream: UpstreamCalls
    _room: PromptRoom
    _effective: EffectiveConfiguration

    async def order(
        self, query: str, passages: Sequence[Found], retrieval: Retrieval, deadline: Deadline
    ) -> tuple[list[Found], tuple[HopReport, ...]]:
        """The passages, the first of them in the model's order, and the report of the call.

        None is asked where there is nothing to order.
        """
        candidates = passages[:MAX_RANKED]
        if len(candidates) < 2:
            return list(passages), ()
        began = time.monotonic()
        limit = Deadline.after(deadline.remaining() * _SHARE_OF_TIME)
        attempts = self._upstream.attempts(self._effective, limit)
        result: ChatResult | None = None

        async def call(target: Target) -> ChatResult:
            return await self._providers[target.connection.protocol].complete(
                self._call(target, query, candidates, retrieval.top_k)
            )

        def report() -> HopReport:
            return HopReport(
                SERVICE,
                self._effective,
                time.monotonic() - began,
                attempts=tuple(attempts.made),
                usage=result.usage if result else None,
                collections=retrieval.collections,
                resolved_model=result.model if result else "",
            )

        try:
            result, _ = await attempts.run(call)
        except CascadaError as error:
            if error.code_reason in _OF_THE_REQUEST:
                error.hops = (report(),)
                raise
            return list(passages), (report(),)
        named = read_order(result.text, len(candidates))
        rest = [place for place in range(len(passages)) if place not in set(named)]
        ordered = scored_by_rank(passages[place] for place in (*named, *rest))
        return ordered, (report(),)

    def _call(
        self, target: Target, query: str, candidates: Sequence[Found], top_k: int
    ) -> ChatCall:
        room = self._room.tokens(target, self._effective.values.max_tokens or 0)
        return ChatCall(
            connection=target.connection,
            model=target.model,
            messages=ranking_prompt(query, [found.hit for found in candidates], top_k, room),
            options=ChatOptions(provider=target.provider_options, **{**target.options, "stop": ()}),
            response_format=ResponseFormat(),
        )


def _without_stop(effective: EffectiveConfiguration) -> EffectiveConfiguration:
    """The caller's stop sequences end an answer; an order would only be cut by them."""
    stop = effective.values.stop
    if stop is None:
        return effective
    dropped = DroppedOption(
        "stop", effective.sources["stop"], "an order of passages is not cut short", stop
    )
    return replace(
        effective,
        values=effective.values.model_copy(update={"stop": None}),
        sources={name: source for name, source in effective.sources.items() if name != "stop"},
        dropped=(*effective.dropped, dropped),
    )
