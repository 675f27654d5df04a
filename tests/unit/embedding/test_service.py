"""Embedding without a network: resolution, batches with their own retries, the report."""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from config_core.errors import (
    BudgetSpentError,
    CascadaError,
    CredentialMissingError,
    EmbeddingSpaceMismatchError,
    InvalidConfigurationError,
    Reason,
)
from config_core.model_configuration import ModelProvider
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshots
from config_core.source import Source
from config_core.sources import environment, request
from config_core.sources.request import Incoming, Provenance
from embedding.providers.port import EmbedCall, EmbedResult, InputKind
from embedding.service import EmbeddingService, EmbedInput, EmbedOutput
from service_core.attempts import Outcome
from service_core.telemetry import Metrics
from service_core.trace import HopReport
from service_core.upstream.clients import ClientPool
from service_core.upstream.errors import (
    ContextTooLongError,
    RateLimitedError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.upstream.monitor import UpstreamMonitor
from service_core.usage import Usage

MISTRAL = ModelProvider.MISTRAL
ENVIRON = {
    "MISTRAL_API_KEY": "key-of-mistral",
    "CASCADA_EMBEDDING_PROVIDER": "mistral",
    "CASCADA_EMBEDDING_MODEL": "some-model",
    "CASCADA_RETRY_ATTEMPTS": "1",
}


def packed(text: str, dimensions: int = 4) -> bytes:
    return struct.pack(f"<{dimensions}f", *([float(len(text) + 1)] * dimensions))


class Provider:
    """Fails the batches that begin with certain texts, as often as it is told."""

    def __init__(self) -> None:
        self.calls: list[EmbedCall] = []
        self.failures: dict[str, list[CascadaError]] = {}
        self.on_call: Callable[[EmbedCall], None] = lambda _: None
        self.hangs = False
        self.dimensions = 4

    async def embed(self, call: EmbedCall) -> EmbedResult:
        self.calls.append(call)
        self.on_call(call)
        if self.hangs:
            await asyncio.Event().wait()
        left = self.failures.get(call.texts[0])
        if left:
            raise left.pop(0)
        vectors = [packed(text, self.dimensions) for text in call.texts]
        return EmbedResult(vectors, Usage(input_tokens=len(call.texts)), "answered-model", "req-1")

    async def aclose(self) -> None:
        """Hold nothing."""


def service_of(
    provider: Provider, environ: Mapping[str, str] | None = None, path: Path | None = None
) -> tuple[EmbeddingService, Snapshots]:
    variables = {**ENVIRON, **(environ or {})}
    snapshots = Snapshots(path, environment.read(variables), LocalSecrets(variables))
    return EmbeddingService(
        snapshots, {MISTRAL: provider}, UpstreamMonitor("embedding", Metrics(), ClientPool())
    ), snapshots


def asked(
    texts: Sequence[str] = ("hola",),
    values: Mapping[str, Any] | None = None,
    provenance: Provenance | None = None,
    time_remaining: float | None = 20.0,
) -> EmbedInput:
    layers, violations = request.layers(dict(values or {}), provenance)
    incoming = Incoming(layers, (), tuple(violations))
    return EmbedInput("default", texts, InputKind.QUERY, incoming, time_remaining)


async def embed(provider: Provider, *args: Any, **kwargs: Any) -> EmbedOutput:
    service, _ = service_of(provider)
    return await service.embed(asked(*args, **kwargs))


def report_of(hops: Sequence[object]) -> HopReport:
    (hop,) = hops
    assert isinstance(hop, HopReport)
    return hop


MANY = [f"t{number:03}" for number in range(300)]
"""Three batches for Mistral, which takes 128 texts a call."""


async def test_the_provider_is_asked_with_what_was_resolved() -> None:
    provider = Provider()
    await embed(provider, ["hola"])
    (call,) = provider.calls
    assert (call.model, list(call.texts), call.kind) == ("some-model", ["hola"], InputKind.QUERY)
    assert call.connection.credential is not None
    assert call.connection.credential.key.get_secret_value() == "key-of-mistral"


async def test_the_report_names_the_model_that_answered_and_the_space_that_came() -> None:
    output = await embed(Provider())
    report = report_of(output.hops)
    assert report.resolved_model == "answered-model"
    assert report.space == output.space
    assert (output.space.model, output.space.dimensions) == ("some-model", 4)
    assert report.usage == output.usage == Usage(input_tokens=1)


async def test_a_batch_that_fails_is_repeated_and_no_other_batch_is() -> None:
    provider = Provider()
    provider.failures["t128"] = [UpstreamFailedError(MISTRAL, "No.", status=500)]
    output = await embed(provider, MANY)
    assert list(output.vectors) == [packed(text) for text in MANY]
    assert Counter(call.texts[0] for call in provider.calls) == {"t000": 1, "t128": 2, "t256": 1}


async def test_the_attempts_of_all_batches_are_on_record() -> None:
    provider = Provider()
    provider.failures["t128"] = [RateLimitedError(MISTRAL, "No.", status=429)]
    report = report_of((await embed(provider, MANY)).hops)
    outcomes = Counter(attempt.outcome for attempt in report.attempts)
    assert outcomes == {Outcome.SUCCEEDED: 3, Outcome.FAILED: 1}


async def test_the_retries_of_one_batch_do_not_use_up_those_of_another() -> None:
    provider = Provider()
    for text in ("t000", "t128", "t256"):
        provider.failures[text] = [UpstreamFailedError(MISTRAL, "No.", status=500)]
    assert len((await embed(provider, MANY)).vectors) == 300


async def test_an_error_about_a_text_names_its_index_among_all_texts() -> None:
    provider = Provider()
    provider.failures["t128"] = [ContextTooLongError(MISTRAL, "Too long.", metadata={"index": "2"})]
    with pytest.raises(ContextTooLongError) as caught:
        await embed(provider, MANY)
    assert caught.value.message == "texts[130]: Too long."


async def test_an_error_carries_the_report_with_the_attempts_so_far() -> None:
    provider = Provider()
    provider.failures["hola"] = [UpstreamRejectedError(MISTRAL, "No.", status=422)]
    with pytest.raises(UpstreamRejectedError) as caught:
        await embed(provider)
    report = report_of(caught.value.hops)
    assert [attempt.reason for attempt in report.attempts] == [Reason.UPSTREAM_REJECTED]
    assert report.usage is None


async def test_embeddings_never_fall_back_to_another_provider() -> None:
    provider = Provider()
    provider.failures["hola"] = [UpstreamFailedError(MISTRAL, "No.", silent=True)]
    fallbacks = {"alternatives": ({"provider": ModelProvider.OPENAI},), "fallback_on": ()}
    with pytest.raises(UpstreamFailedError):
        await embed(provider, values={"fallbacks": fallbacks})
    assert len(provider.calls) == 1


async def test_an_invalid_configuration_is_refused_before_any_call() -> None:
    provider = Provider()
    with pytest.raises(InvalidConfigurationError):
        await embed(provider, values={"embedding_api_key": "a-key-without-a-provider"})
    assert provider.calls == []


async def test_without_a_credential_nothing_is_called_and_the_report_says_what_was_resolved() -> (
    None
):
    provider = Provider()
    service, _ = service_of(provider, {"MISTRAL_API_KEY": ""})
    with pytest.raises(CredentialMissingError) as caught:
        await service.embed(asked(MANY))
    assert report_of(caught.value.hops).effective.values.embedding_model == "some-model"
    assert provider.calls == []


@pytest.mark.parametrize("limit", ["caller", "configuration"])
async def test_the_smaller_of_the_callers_deadline_and_the_configured_one_holds(
    limit: str,
) -> None:
    provider = Provider()
    provider.hangs = True
    remaining, seconds = (0.05, 3600.0) if limit == "caller" else (3600.0, 0.05)
    with pytest.raises(BudgetSpentError):
        await embed(provider, values={"timeout_seconds": seconds}, time_remaining=remaining)


async def test_cancelling_the_request_cancels_its_batches() -> None:
    provider, started = Provider(), asyncio.Event()
    provider.hangs = True
    provider.on_call = lambda _: started.set()
    task = asyncio.create_task(embed(provider, MANY))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


async def test_vectors_of_another_length_than_the_collections_are_a_space_mismatch() -> None:
    pinned = {
        "embedding_provider": "mistral",
        "embedding_model": "pinned-model",
        "embedding_dimensions": 8,
    }
    told = Provenance(dict.fromkeys(pinned, Source.COLLECTION), {})
    with pytest.raises(EmbeddingSpaceMismatchError) as caught:
        await embed(Provider(), values=pinned, provenance=told)
    assert (
        caught.value.metadata["collection_space"],
        caught.value.metadata["requested_space"],
    ) == (
        "mistral/pinned-model, 8 dimensions",
        "mistral/pinned-model, 4 dimensions",
    )


async def test_batches_whose_vectors_differ_in_length_are_never_put_together() -> None:
    provider = Provider()

    def grow(call: EmbedCall) -> None:
        provider.dimensions = 4 if call.texts[0] == "t000" else 5

    provider.on_call = grow
    with pytest.raises(UpstreamFailedError, match="of 4 and of 5 dimensions"):
        await embed(provider, MANY)


async def test_a_request_keeps_the_snapshot_that_it_began_with(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    path.write_text('{"defaults": {"retry_attempts": 0}}', encoding="utf-8")
    provider = Provider()
    service, snapshots = service_of(provider, path=path)
    version = snapshots.current.version

    def change(call: EmbedCall) -> None:
        model = f"model-after-{call.texts[0]}"
        text = f'{{"defaults": {{"embedding_provider": "mistral", "embedding_model": "{model}"}}}}'
        path.write_text(text, encoding="utf-8")
        assert snapshots.reload()

    provider.on_call = change
    report = report_of((await service.embed(asked(MANY))).hops)
    assert {call.model for call in provider.calls} == {"some-model"}
    assert report.effective.snapshot_version == version != snapshots.current.version
