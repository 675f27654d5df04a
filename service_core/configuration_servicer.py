"""ConfigurationService on the wire: what would run here, and what this service can do."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import grpc
from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1 import configuration_service_pb2_grpc as pb_grpc
from cascada.config.v1 import effective_configuration_pb2
from pydantic import SecretStr

from config_core.breaches import operators_key
from config_core.capabilities import CHAT_OPTIONS, MATRIX, provider_options
from config_core.convert import provider_to_wire
from config_core.convert_effective import effective_to_wire
from config_core.convert_provenance import incoming
from config_core.effective import EffectiveConfiguration
from config_core.errors import CollectionNotFoundError, EmbeddingSpaceMismatchError, Violation
from config_core.model_configuration import ConnectionKind, ModelProvider
from config_core.place import Claim, Place
from config_core.registry import Registry
from config_core.resolve import Resolution
from config_core.rules import Rules
from config_core.snapshot import Snapshots
from config_core.source import Source
from config_core.sources.collection import PinnedSpace
from service_core.circuit import Circuits, CircuitState
from service_core.identity.caller import current, is_operator
from service_core.request_context import Peers, invalid, read_context, refuse_if

Pinned = Callable[[str, Sequence[str]], Awaitable[Sequence[tuple[PinnedSpace, Sequence[str]]]]]
"""For a tenant and collections: each space with the collections that share it."""

_OPERATIONS: dict[ConnectionKind, effective_configuration_pb2.Operation.ValueType] = {
    "chat": effective_configuration_pb2.OPERATION_CHAT,
    "embedding": effective_configuration_pb2.OPERATION_EMBEDDING,
}

_CIRCUIT_STATES: dict[CircuitState | None, pb.CircuitState.ValueType] = {
    None: pb.CIRCUIT_STATE_UNSPECIFIED,
    CircuitState.CLOSED: pb.CIRCUIT_STATE_CLOSED,
    CircuitState.OPEN: pb.CIRCUIT_STATE_OPEN,
    CircuitState.HALF_OPEN: pb.CIRCUIT_STATE_HALF_OPEN,
}


class ConfigurationServicer(pb_grpc.ConfigurationServiceServicer):
    """Serves ResolveConfiguration and ListCapabilities over one service's own layers."""

    def __init__(
        self,
        snapshots: Snapshots,
        peers: Peers,
        kinds: Sequence[ConnectionKind],
        *,
        calls: Collection[ConnectionKind],
        pinned: Pinned | None = None,
        circuits: Circuits | None = None,
        fingerprint_key: SecretStr | None = None,
    ) -> None:
        """`kinds` are the operations that the service takes part in.

        Of those it `calls` the providers of some, through `circuits`; `pinned` knows the spaces of
        collections.
        """
        self._snapshots = snapshots
        self._peers = peers
        self._kinds = kinds
        self._calls = calls
        self._pinned = pinned
        self._circuits = circuits or Circuits()
        self._fingerprint_key = fingerprint_key

    async def ResolveConfiguration(  # the name is the contract's
        self,
        request: pb.ResolveConfigurationRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.ResolveConfigurationResponse:
        """Tell what a request would run with here, and everything that is wrong with it."""
        self._peers.check_keys(request.model_configuration, None, context)
        problems: list[Violation] = []
        caller = read_context(request.context, problems)
        refuse_if(problems)
        preferences = request.model_preferences if request.HasField("model_preferences") else None
        given = incoming(request.model_configuration, wire_preferences=preferences)
        snapshot = self._snapshots.current
        response = pb.ResolveConfigurationResponse()
        found: list[Violation] = []
        for kind in self._asked_for(request, found):
            for pinned, collections in await self._spaces(kind, caller.tenant_id, request, found):
                resolution = snapshot.resolve(kind, caller.tenant_id, given, pinned)
                self._add(response, kind, resolution, collections, found)
                if pinned is not None:
                    found.extend(_space_violations(resolution.effective, pinned, collections))
        for violation in dict.fromkeys(_key(violation) for violation in found):
            response.violations.add(
                field=violation[0],
                description=violation[1],
                reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{violation[2]}"),
            )
        return response

    def _asked_for(
        self, request: pb.ResolveConfigurationRequest, found: list[Violation]
    ) -> Sequence[ConnectionKind]:
        if not request.operation:
            return self._kinds
        kinds = [kind for kind in self._kinds if _OPERATIONS[kind] == request.operation]
        if not kinds:
            found.append(invalid("operation", "is not one that this service takes part in"))
        return kinds

    async def _spaces(
        self,
        kind: ConnectionKind,
        tenant: str,
        request: pb.ResolveConfigurationRequest,
        found: list[Violation],
    ) -> Sequence[tuple[PinnedSpace | None, Sequence[str]]]:
        if not request.collections or kind != "embedding":
            return [(None, ())]
        if self._pinned is None:
            found.append(invalid("collections", "are known to the query service: ask it there"))
            return [(None, ())]
        try:
            return await self._pinned(tenant, request.collections)
        except CollectionNotFoundError as error:
            found.append(Violation("collections", error.message, error.reason))
            return [(None, ())]

    def _add(
        self,
        response: pb.ResolveConfigurationResponse,
        kind: ConnectionKind,
        resolution: Resolution,
        collections: Sequence[str],
        found: list[Violation],
    ) -> None:
        found.extend(resolution.violations)
        problem = resolution.effective.primary.problem
        if problem is not None and kind in self._calls:
            own = Violation(f"{kind}_api_key", problem.message, problem.code_reason)
            found.extend(problem.violations or [own])
        response.operations.add(
            operation=_OPERATIONS[kind],
            effective=effective_to_wire(
                resolution.effective,
                fingerprint_key=self._fingerprint_key,
                to_operator=is_operator(),
            ),
            collections=collections,
        )

    async def ListCapabilities(  # the name is the contract's
        self, request: pb.ListCapabilitiesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListCapabilitiesResponse:
        """Tell what providers, models and options the tenant's policy allows."""
        problems: list[Violation] = []
        caller = read_context(request.context, problems)
        refuse_if(problems)
        snapshot = self._snapshots.current
        registry, rules = snapshot.registry(caller.tenant_id), snapshot.rules(caller.tenant_id)
        return pb.ListCapabilitiesResponse(
            providers=[
                self._provider(provider, registry, rules)
                for provider in MATRIX
                if rules.allows_provider(provider)
            ],
            endpoints=[
                pb.EndpointCapabilities(
                    name=name,
                    provider=provider_to_wire(entry.provider),
                    space=entry.space or name,
                    credential=_credential(registry, rules, place),
                    circuit=self._circuit(place),
                )
                for name, entry in snapshot.document.endpoints.items()
                if rules.allows_endpoint(place := Place.of(entry.provider, name))
            ],
        )

    def _provider(
        self, provider: ModelProvider, registry: Registry, rules: Rules
    ) -> pb.ProviderCapabilities:
        row = MATRIX[provider]
        message = pb.ProviderCapabilities(
            provider=provider_to_wire(provider),
            provider_options=sorted(
                {*provider_options(provider, "chat"), *provider_options(provider, "embedding")}
            ),
            credential=_credential(registry, rules, Place(provider)),
            circuit=self._circuit(Place(provider)),
        )
        if row.chat is not None:
            message.operations.append(_OPERATIONS["chat"])
            message.default_chat_model = row.chat.default_model
            message.chat_options.extend(name for name in CHAT_OPTIONS if name in row.chat.options)
        if row.embedding is not None:
            message.operations.append(_OPERATIONS["embedding"])
            message.default_embedding_model = row.embedding.default_model
            for name, model in row.embedding.models.items():
                if not rules.allows_model("embedding", provider, name):
                    continue
                message.embedding_models.add(
                    model=name,
                    dimensions=model.dimensions,
                    settable_dimensions=model.settable_dimensions,
                    max_input_tokens=model.max_input_tokens,
                )
        return message

    def _circuit(self, place: Place) -> pb.CircuitState.ValueType:
        """What a circuit says is the operator's, where callers are told apart."""
        if current() is not None and not is_operator():
            return pb.CIRCUIT_STATE_UNSPECIFIED
        return _CIRCUIT_STATES[self._circuits.state_of(place.provider, place.endpoint)]


def _space_violations(
    effective: EffectiveConfiguration, pinned: PinnedSpace, collections: Sequence[str]
) -> list[Violation]:
    """What a search of these collections would be refused for."""
    try:
        effective.check_space(pinned.space, collections[0])
    except EmbeddingSpaceMismatchError as error:
        return [Violation("collections", error.message, error.reason)]
    return []


def _key(violation: Violation) -> tuple[str, str, str]:
    return violation.field, violation.description, violation.reason.name


def _credential(
    registry: Registry, rules: Rules, place: Place
) -> pb.ConfigurationCredential.ValueType:
    connection, _ = registry.connect("chat", place, Claim(Source.REQUEST))
    if operators_key(connection, rules) is not None:
        return pb.CONFIGURATION_CREDENTIAL_MISSING  # it is there, but not for this tenant
    if connection.credential is not None:
        return pb.CONFIGURATION_CREDENTIAL_PRESENT
    if connection.keyless:
        return pb.CONFIGURATION_CREDENTIAL_NOT_NEEDED
    return pb.CONFIGURATION_CREDENTIAL_MISSING
