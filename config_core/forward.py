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
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    ConnectionKind,
    ModelConfiguration,
    of_fields,
)
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
    blank: dict[str, Source] = field(default_factory=dict)
    connections: dict[tuple[str, str, str, str], ForwardedConnection] = field(default_factory=dict)


def forward(
    effectives: Iterable[EffectiveConfiguration], *, attach_credentials: bool = False
) -> Forwarded:
    """Pack the effective configurations that the next hop needs."""
    parcel = _Parcel()
    for effective in effectives:
        _pack_values(effective, parcel)
        _pack_dropped(effective, parcel)
        _pack_waiting(effective, parcel)
        _pack_ranks(effective, parcel)
        _pack_claim(effective, parcel)
        for target in effective.targets:
            attached = attach_credentials or target.connection.sent
            if attached and target.skip is None:  # what is not called needs no key
                _pack_connection(effective.kind, target.connection, parcel)
    return Forwarded(
        of_fields(parcel.values),
        Provenance(parcel.fields, parcel.options, parcel.beneath, parcel.blank),
        tuple(parcel.connections.values()),
    )


def _pack_values(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    for name, source in effective.sources.items():
        if source is Source.DEFAULT:
            continue
        if name.startswith("provider_configs."):
            _, provider, option = name.split(".", 2)
            configs = effective.values.provider_configs or {}
            _pack_option(provider, option, configs[provider][option], source, parcel)
            continue
        if name == "fallbacks" and source is Source.REQUEST:
            parcel.values[name] = effective.fallbacks  # with the request's own keys
        else:
            parcel.values[name] = getattr(effective.values, name)
        parcel.fields[name] = _honest(source)


def _pack_option(provider: str, option: str, value: Any, source: Source, parcel: _Parcel) -> None:
    parcel.values.setdefault("provider_configs", {}).setdefault(provider, {})[option] = value
    parcel.options[f"{provider}.{option}"] = _honest(source)


def _pack_waiting(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    """Options of providers that are not called here, since the next hop's layers may call them."""
    for provider, options in effective.waiting.items():
        for option, (value, source) in options.items():
            _pack_option(provider, option, value, source, parcel)


def _pack_dropped(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    """What could not be used goes along: the next hop drops it too, and takes nothing lower."""
    for option in effective.dropped:
        if option.source is not Source.DEFAULT:
            parcel.values[option.field] = option.value
            parcel.fields[option.field] = _honest(option.source)


def _pack_ranks(effective: EffectiveConfiguration, parcel: _Parcel) -> None:
    """Provider and model stand at every rank at which the next hop needs them.

    A model is lost where a higher layer is the first to name its provider, dimensions where a
    higher layer is the first to name their model; and a provider that was restated has to hold at
    that rank.
    """
    kind = effective.kind
    provider, model, dimensions = f"{kind}_provider", f"{kind}_model", f"{kind}_dimensions"
    dependents = {parcel.fields[name] for name in (model, dimensions) if name in parcel.fields}
    if model in parcel.fields:
        below = {rank for rank in dependents if rank > parcel.fields[model]}
        parcel.beneath[model] = frozenset(below)
    if effective.stated is Source.DEFAULT:
        return
    ranks = {_honest(effective.stated)}
    if effective.claim.source is not Source.DEFAULT:
        decided = _honest(effective.claim.source)
        ranks |= {decided, *(rank for rank in dependents if rank > decided)}
    parcel.fields[provider] = min(ranks)
    parcel.beneath[provider] = frozenset(ranks - {min(ranks)})
    for name in effective.blank - parcel.fields.keys():
        parcel.blank[name] = _honest(effective.claim.source)


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
        return
    credential = effective.primary.connection.credential
    # What the registry put in the place of the reference goes along in its stead.
    reference = claim.reference if credential is None else credential.reference
    if claim.reference is not None and reference:
        parcel.values[reference_field] = reference
        parcel.fields[reference_field] = _honest(claim.source)


def _pack_connection(kind: ConnectionKind, connection: Connection, parcel: _Parcel) -> None:
    """The connection with its key; without, where the request brings its own or none is needed."""
    credential: Credential | None = connection.credential
    if credential is None and not (connection.keyless and connection.base_url):
        return
    travels = credential is not None and credential.owner is Owner.CALLER
    reference = credential.reference if credential is not None else ""
    # The primary comes first: an alternative at the same place shares its key.
    parcel.connections.setdefault(
        (kind, connection.provider, connection.endpoint, reference),
        ForwardedConnection(
            kind=kind,
            provider=connection.provider,
            endpoint=connection.endpoint,
            base_url=connection.base_url,
            private=connection.private,
            source=_honest(connection.source if credential is None else credential.source),
            api_key=None if credential is None or travels else credential.key,
            space=connection.space,
            secret_ref=reference,
            tenants_own=credential is not None and credential.owner is Owner.TENANT,
            keyless=connection.keyless,
        ),
    )
