"""The effective configuration on the wire: what a caller may see of it."""

from collections.abc import Iterator

from cascada.config.v1 import effective_configuration_pb2, embedding_space_pb2
from pydantic import SecretStr

from config_core.connection import Owner
from config_core.convert import provider_from_wire, provider_to_wire, source_to_wire, to_wire
from config_core.effective import EffectiveConfiguration
from config_core.fingerprint import fingerprint
from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace


def effective_to_wire(
    effective: EffectiveConfiguration,
    *,
    fingerprint_key: SecretStr | None = None,
    to_operator: bool = False,
    resolved_model: str = "",
    space: EmbeddingSpace | None = None,
) -> effective_configuration_pb2.EffectiveConfiguration:
    """The message; `resolved_model` and `space` are what the answer showed, where it is known.

    An operator sees the fingerprints of the operator's keys too.
    """
    message = effective_configuration_pb2.EffectiveConfiguration(
        values=to_wire(effective.values),
        sources={name: source_to_wire(source) for name, source in effective.sources.items()},
        requested_model=effective.requested_model,
        resolved_model=resolved_model or effective.primary.model,
        snapshot_version=effective.snapshot_version,
        digest=effective.digest,
    )
    of_alternatives = [option for target in effective.targets[1:] for option in target.dropped]
    for option in (*effective.dropped, *of_alternatives):
        message.dropped.add(
            field=option.field, source=source_to_wire(option.source), reason=option.reason
        )
    known_space = space or effective.space
    if known_space is not None:
        message.embedding_space.CopyFrom(space_to_wire(known_space))
    credential = effective.primary.connection.credential
    if credential is not None:
        message.credential_source = source_to_wire(credential.source)
    if fingerprint_key is not None:
        for name, text in _fingerprints(effective, fingerprint_key, to_operator=to_operator):
            message.key_fingerprints[name] = text
    return message


def _fingerprints(
    effective: EffectiveConfiguration, key: SecretStr, *, to_operator: bool
) -> Iterator[tuple[str, str]]:
    """Those of the caller's and tenant's own keys; the operator's are for the operator."""
    for index, target in enumerate(effective.targets):
        credential = target.connection.credential
        if credential is not None and (to_operator or credential.owner is not Owner.OPERATOR):
            name = effective.kind if index == 0 else f"fallbacks.{index - 1}"
            yield name, fingerprint(credential.key, key)


def space_to_wire(space: EmbeddingSpace) -> embedding_space_pb2.EmbeddingSpace:
    """The message of a space."""
    return embedding_space_pb2.EmbeddingSpace(
        provider=provider_to_wire(space.provider),
        model=space.model,
        dimensions=space.dimensions,
        prefix=space.prefix,
        endpoint_space=space.endpoint_space,
    )


def space_from_wire(message: embedding_space_pb2.EmbeddingSpace) -> EmbeddingSpace:
    """The space of a message from another service."""
    provider = provider_from_wire(message.provider)
    if not isinstance(provider, ModelProvider):
        raise ValueError("the space names no provider known here")  # noqa: TRY004 # a bad value
    return EmbeddingSpace(
        provider, message.model, message.dimensions, message.prefix, message.endpoint_space
    )
