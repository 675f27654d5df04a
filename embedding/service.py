"""Embedding: resolves the configuration, calls the provider that it names, reports what ran."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config_core.capabilities import MATRIX
from config_core.effective import EffectiveConfiguration, Target
from config_core.errors import CascadaError, EmbeddingSpaceMismatchError
from config_core.model_configuration import ModelProvider
from config_core.snapshot import Snapshots
from config_core.source import Source
from config_core.sources.request import Incoming
from config_core.space import EmbeddingSpace
from embedding.batching import BatchLimits, embed_in_batches
from embedding.providers.port import EmbedCall, EmbeddingProvider, EmbedResult, InputKind
from service_core.attempts import Attempt
from service_core.deadline import Deadline
from service_core.retry import UpstreamCalls
from service_core.trace import Hop, HopReport, required
from service_core.upstream.errors import UpstreamFailedError
from service_core.usage import Usage

SERVICE = "embedding"
BATCHES_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class EmbedInput:
    """One request, already checked."""

    tenant_id: str
    texts: Sequence[str]
    kind: InputKind
    incoming: Incoming
    time_remaining: float | None
    """What the caller's deadline leaves, in seconds; `None` without one."""


@dataclass(frozen=True, slots=True)
class EmbedOutput:
    """One vector a text, in order, each of little-endian float32."""

    vectors: Sequence[bytes]
    space: EmbeddingSpace
    usage: Usage
    hops: tuple[Hop, ...]


class EmbeddingService:
    """Turns texts into vectors."""

    def __init__(
        self,
        snapshots: Snapshots,
        providers: Mapping[ModelProvider, EmbeddingProvider],
        upstream: UpstreamCalls,
    ) -> None:
        self._snapshots = snapshots
        self._providers = providers
        self._upstream = upstream

    async def embed(self, request: EmbedInput) -> EmbedOutput:
        """Embed all texts or raise; an error names the index of the text that it is about."""
        began = time.monotonic()
        snapshot = self._snapshots.current
        effective = required(
            SERVICE, snapshot.resolve("embedding", request.tenant_id, request.incoming)
        )
        deadline = Deadline.from_context(request.time_remaining, effective.timeout_seconds)
        made: list[Attempt] = []

        def report(result: EmbedResult | None, space: EmbeddingSpace | None) -> HopReport:
            return HopReport(
                service=SERVICE,
                effective=effective,
                duration=time.monotonic() - began,
                attempts=tuple(made),
                usage=result.usage if result else None,
                resolved_model=result.model if result else "",
                space=space,
            )

        try:
            result = await self._embed(request, effective, deadline, made)
            space = _space(effective, result)
        except CascadaError as error:
            error.hops = (report(None, None), *error.hops)
            raise
        return EmbedOutput(result.vectors, space, result.usage, (report(result, space),))

    async def _embed(
        self,
        request: EmbedInput,
        effective: EffectiveConfiguration,
        deadline: Deadline,
        made: list[Attempt],
    ) -> EmbedResult:
        async def call(target: Target, texts: Sequence[str]) -> EmbedResult:
            provider = self._providers[target.connection.protocol]
            return await provider.embed(
                EmbedCall(
                    connection=target.connection,
                    model=target.model,
                    texts=texts,
                    kind=request.kind,
                    dimensions=target.options.get("dimensions"),
                    options=target.provider_options,
                )
            )

        async def embed_batch(texts: Sequence[str]) -> EmbedResult:
            # Retries are each batch's own: one that fails does not have the rest embedded again.
            attempts = self._upstream.attempts(effective, deadline)
            try:
                result, _ = await attempts.run(lambda target: call(target, texts))
            finally:
                made.extend(attempts.made)
            return result

        return await embed_in_batches(request.texts, embed_batch, _limits(effective.primary))


def _limits(target: Target) -> BatchLimits:
    row = MATRIX[target.connection.provider].embedding
    assert row is not None  # resolution refuses a provider without embeddings
    return BatchLimits(row.max_texts, row.max_tokens, BATCHES_IN_FLIGHT)


def _space(effective: EffectiveConfiguration, result: EmbedResult) -> EmbeddingSpace:
    """The space of the vectors that came; raises where they are not of the length expected."""
    # A provider's answer is of one length by itself; those to different batches need not be.
    lengths = sorted({len(vector) // 4 for vector in result.vectors})
    if len(lengths) > 1:
        provider = effective.primary.connection.provider
        raise UpstreamFailedError(
            provider, f"{provider} sent vectors of {lengths[0]} and of {lengths[-1]} dimensions."
        )
    space = effective.space_of(lengths[0])
    expected = effective.space
    if expected is None or expected == space:
        return space
    if effective.sources["embedding_dimensions"] is Source.COLLECTION:
        raise EmbeddingSpaceMismatchError("", expected, space)
    raise UpstreamFailedError(
        effective.primary.connection.provider,
        f"{effective.primary.connection.provider} sent vectors of {space.dimensions} dimensions "
        f"instead of {expected.dimensions}.",
    )
