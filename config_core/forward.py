"""What the next hop is told: the fields that layers above DEFAULT set, with their sources.

Only what the next hop needs goes along: the embedding service never sees a chat key. A key in the
configuration is the request's own; the operator's travels as a forwarded connection, and only where
the service is told to attach it. What an earlier service attached is passed on to whoever calls.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from config_core.connection import Connection, Credential, Owner
from config_core.effective import EffectiveConfiguration
from config_core.model_configuration import CONNECTION_FIELDS, ModelConfiguration
from config_core.source import Source
from config_core.sources.request import ForwardedConnection, Provenance


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The configuration part of the request to the next hop."""

    configuration: ModelConfiguration
    provenance: Provenance
    connections: tuple[ForwardedConnection, ...] = ()

    @property
    def carries_keys(self) -> bool:
        """Whether any key goes along, so that the connection has to be fit for it."""
        values = self.configuration
        alternatives = values.fallbacks.alternatives if values.fallbacks else ()
        return (
            values.chat_api_key is not None
            or values.embedding_api_key is not None
            or any(alternative.api_key is not None for alternative in alternatives)
            or any(connection.api_key is not None for connection in self.connections)
        )


@dataclass(slots=True)
class _Parcel:
    values: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Source] = field(default_factory=dict)
    options: dict[str, Source] = field(default_factory=dict)
    beneath: dict[str, frozenset[Source]] = field(default_factory=dict)
    connections: dict[tuple[str, str, str], ForwardedConnection] = field(default_factory=dict)


def forward(
    effectives: Iterable[EffectiveConfiguration], *, attach_credentials: bool = False
) -> Forwarded:
    """Pack the effective configurations that the next hop needs."""
    parcel = _Parcel()
    for effective in effectives:
        _pack_values(effective, parcel)
        _pack_dropped(effective, parcel)
        _pack_ranks(effective, parcel)
        _pack_claim(effective, parcel)
        for target in effective.targets:
            attached = attach_credentials or target.connection.sent
            if attached and target.skip is None:  # what is not called needs no key
                _pack_connection(target.connection, parcel)
    return Forwarded(
        ModelConfiguration.model_construct(**parcel.values),
        Provenance(parcel.fields, parcel.options, parcel.beneath),
        tuple(parcel.connections.values()),
    )


def _pack_values(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    for name, source in effective.sources.items():
        if source is Source.DEFAULT:
            continue
        if name.startswith("provider_configs."):
            _, provider, option = name.split(".", 2)
            configs = effective.values.provider_configs or {}
            target = parcel.values.setdefault("provider_configs", {}).setdefault(provider, {})
            target[option] = configs[provider][option]
            parcel.options[f"{provider}.{option}"] = _honest(source)
            continue
        if name == "fallbacks" and source is Source.REQUEST:
            parcel.values[name] = effective.fallbacks  # with the request's own keys
        else:
            parcel.values[name] = getattr(effective.values, name)
        parcel.fields[name] = _honest(source)


def _pack_dropped(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    """What could not be used goes along: the next hop drops it again, and takes nothing lower instead."""
    for option in effective.dropped:
        if option.source is not Source.DEFAULT:
            parcel.values[option.field] = option.value
            parcel.fields[option.field] = _honest(option.source)


def _pack_ranks(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    """Provider and model stand at every rank at which the next hop needs them.

    A model is lost where a higher layer is the first to name its provider, dimensions where a higher
    layer is the first to name their model; and a provider that was restated has to hold at that rank.
    """
    kind = effective.kind
    provider, model, dimensions = f"{kind}_provider", f"{kind}_model", f"{kind}_dimensions"
    dependents = {parcel.fields[name] for name in (model, dimensions) if name in parcel.fields}
    if model in parcel.fields:
        below = {rank for rank in dependents if rank > parcel.fields[model]}
        parcel.beneath[model] = frozenset(below)
    stated = _honest(effective.stated)
    if stated is Source.DEFAULT:
        return
    decided = parcel.fields.get(provider)
    below = {rank for rank in dependents if decided is not None and rank > decided}
    if decided is None or stated < decided:
        below |= {decided} if decided is not None else set()
        parcel.values[provider] = effective.primary.connection.provider
        parcel.fields[provider] = stated
    parcel.beneath[provider] = frozenset(below)


def _honest(source: Source) -> Source:
    """LOCKED is never believed from the wire: a locked value goes as the operator's word."""
    return Source.TENANT if source is Source.LOCKED else source


def _pack_claim(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    """The request's own key, or the reference to a registered secret, for this connection."""
    _, _, key_field, reference_field = CONNECTION_FIELDS[effective.kind]
    claim = effective.claim
    if claim.key is not None and claim.source is Source.REQUEST:
        parcel.values[key_field] = claim.key
        parcel.fields[key_field] = claim.source
    elif claim.reference is not None:
        parcel.values[reference_field] = claim.reference
        parcel.fields[reference_field] = _honest(claim.source)


def _pack_connection(connection: Connection, parcel: _Parcel) -> None:
    credential: Credential | None = connection.credential
    if credential is None:
        if connection.keyless and connection.endpoint:
            _pack_keyless(connection, parcel)
        return
    if credential.source is Source.REQUEST and not credential.reference:
        return  # it travels in the request's own configuration
    key = (connection.provider, connection.endpoint, credential.reference)
    parcel.connections[key] = ForwardedConnection(
        provider=connection.provider,
        endpoint=connection.endpoint,
        base_url=connection.base_url,
        private=connection.private,
        source=_honest(credential.source),
        api_key=credential.key,
        space=connection.space,
        secret_ref=credential.reference,
        tenants_own=credential.owner is Owner.TENANT,
    )


def _pack_keyless(connection: Connection, parcel: _Parcel) -> None:
    """An endpoint that takes no key, which the next hop need not have registered."""
    parcel.connections[connection.provider, connection.endpoint, ""] = ForwardedConnection(
        provider=connection.provider,
        endpoint=connection.endpoint,
        base_url=connection.base_url,
        private=connection.private,
        source=_honest(connection.source),
        api_key=None,
        space=connection.space,
    )
