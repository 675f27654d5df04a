"""Answering: retrieve, build the prompt, ask the model, report what ran."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from config_core.effective import Target
from config_core.errors import CascadaError
from config_core.model_configuration import ModelProvider
from config_core.snapshot import Snapshots
from config_core.sources.request import Incoming
from query.answer import Answer, AnswerEvent, Collected
from query.citations import cited
from query.name import SERVICE
from query.prompting import Prompter
from query.providers.model import (
    ChatResult,
    Finished,
    FinishReason,
    StreamPart,
    TextDelta,
)
from query.providers.port import ChatProvider
from query.question import Question
from query.reranking import Reranker
from query.retrieval import Found, Retrieval, Retrieved
from query.retriever import Retriever
from query.run import Run
from service_core.deadline import Deadline
from service_core.request_context import RequestContext
from service_core.retry import UpstreamCalls
from service_core.trace import required
from service_core.usage import Usage


class QueryService:
    """Answers questions, from passages where retrieval is asked for."""

    def __init__(
        self,
        snapshots: Snapshots,
        providers: Mapping[ModelProvider, ChatProvider],
        retriever: Retriever,
        reranker: Reranker,
        prompter: Prompter,
        upstream: UpstreamCalls,
        nothing_found: str,
    ) -> None:
        """`nothing_found` is the answer where retrieval finds no passage."""
        self._snapshots = snapshots
        self._providers = providers
        self._retriever = retriever
        self._reranker = reranker
        self._prompter = prompter
        self._upstream = upstream
        self._nothing_found = nothing_found

    async def query(self, question: Question) -> Answer:
        """Answer in one piece; raises CascadaError with the hops so far."""
        run = self._begin(question)
        try:
            if await self._retrieve(run):
                return self._nothing(run)
            result, used = await self._complete(run)
        except CascadaError as error:
            error.hops = (*run.hops, *error.hops, run.report())
            raise
        return Answer(
            result.text,
            cited(result.text, used),
            result.tool_calls,
            result.finish_reason,
            result.usage,
            (*run.hops, run.report(result)),
        )

    async def stream_query(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """Answer piece by piece; the last event is the whole Answer."""
        run = self._begin(question)
        try:
            if await self._retrieve(run):
                yield TextDelta(self._nothing_found)
                yield self._nothing(run)
                return
            async with aclosing(self._stream(run)) as events:
                async for event in events:
                    yield event
        except CascadaError as error:
            error.hops = (*run.hops, *error.hops, run.report())
            raise

    async def search(
        self,
        query: str,
        retrieval: Retrieval,
        context: RequestContext,
        incoming: Incoming,
        time_remaining: float | None,
    ) -> Retrieved:
        """Find passages; raises CascadaError with the hops so far."""
        snapshot = self._snapshots.current
        reranking = None
        if retrieval.rerank:
            resolution = snapshot.resolve("chat", context.tenant_id, incoming)
            reranking = self._reranker.prepare(required(SERVICE, resolution))
        deadline = Deadline.of_caller(time_remaining)
        return await self._retriever.search(
            query, retrieval, context, incoming, snapshot, deadline, reranking, alone=True
        )

    async def _complete(self, run: Run) -> tuple[ChatResult, tuple[Found, ...]]:
        prompts = self._prompter.prompts(run.conversation)

        async def call(target: Target) -> ChatResult:
            prompt = await prompts(target)
            return await self._provider(target).complete(run.call(prompt, target))

        result, target = await run.attempts.run(call)
        return result, (await prompts(target)).used

    async def _stream(self, run: Run) -> AsyncGenerator[AnswerEvent, None]:
        prompts = self._prompter.prompts(run.conversation)

        async def call(target: Target) -> AsyncGenerator[StreamPart, None]:
            prompt = await prompts(target)
            provider = self._provider(target)
            async with aclosing(provider.stream(run.call(prompt, target))) as parts:
                async for part in parts:
                    yield part

        answer = Collected()
        parts = run.attempts.stream(
            call,
            ending=_ending,
        )
        async with aclosing(parts):
            async for part, target in parts:
                if isinstance(part, Finished):
                    text = "".join(answer.texts)
                    yield Answer(
                        text,
                        cited(text, (await prompts(target)).used),
                        answer.tool_calls(),
                        part.finish_reason,
                        part.usage,
                        (*run.hops, run.report(part)),
                    )
                    return
                answer.add(part)
                yield part

    def _begin(self, question: Question) -> Run:
        began = time.monotonic()
        snapshot = self._snapshots.current
        resolution = snapshot.resolve("chat", question.context.tenant_id, question.incoming)
        effective = required(SERVICE, resolution)
        deadline = Deadline.from_context(question.time_remaining, effective.timeout_seconds)
        run = Run(
            question,
            snapshot,
            effective,
            deadline,
            self._upstream.attempts(effective, deadline),
            began,
        )
        primary = effective.primary
        if primary.skip is None and primary.problem is not None:
            primary.problem.hops = (run.report(),)
            raise primary.problem  # before anything is searched or paid for
        if question.retrieval is not None and question.retrieval.rerank:
            run.reranking = self._reranker.prepare(effective)
        return run

    async def _retrieve(self, run: Run) -> bool:
        """Find the passages; true where a new question was to have some, and there are none."""
        question = run.question
        if question.retrieval is None:
            return False
        retrieved = await self._retriever.search(
            question.message,
            question.retrieval,
            question.context,
            question.incoming,
            run.snapshot,
            run.deadline,
            run.reranking,
        )
        run.passages = retrieved.passages
        run.hops.extend(retrieved.hops)
        return not retrieved.passages and not question.after

    def _nothing(self, run: Run) -> Answer:
        return Answer(
            self._nothing_found,
            (),
            (),
            FinishReason.STOP,
            Usage(),
            (*run.hops, run.report()),
        )

    def _provider(self, target: Target) -> ChatProvider:
        return self._providers[target.connection.protocol]


def _ending(part: StreamPart) -> Finished | None:
    return part if isinstance(part, Finished) else None
