"""Deciding a connection: one layer decides provider, endpoint and credential together.

From the lowest layer up: a layer that names a provider or an endpoint replaces the whole
connection. Only one that restates the inherited provider, with neither endpoint nor credential,
changes nothing.
"""

from collections.abc import Iterable, Mapping, MutableSequence
from dataclasses import dataclass

from config_core.capabilities import default_model, embedding_model
from config_core.errors import Violation
from config_core.layer import Layer, field_path
from config_core.model_configuration import (
    CONNECTION_FIELDS,
    ConnectionKind,
    Fallbacks,
    ModelProvider,
)
from config_core.place import Claim, Place
from config_core.registry import Registry
from config_core.source import Source

COLLECTIONS_FIELD = "retrieval.collections"
"""Where people find what is wrong with a collection's space."""


_DEPENDENT: Mapping[ConnectionKind, tuple[str, ...]] = {
    "chat": ("chat_model", "fallbacks"),
    "embedding": ("embedding_model", "embedding_dimensions"),
}
_UNTOLD = (Source.PREFERENCE, Source.COLLECTION)
"""Layers of this hop only: the next one does not learn what they had decided beneath another."""
_BLANK: Mapping[ConnectionKind, frozenset[str]] = {
    "chat": frozenset({"chat_endpoint", "chat_model"}),
    "embedding": frozenset({"embedding_endpoint", "embedding_model"}),
}
_UNDECIDED = Place(ModelProvider.LOCAL), Claim(Source.DEFAULT)


@dataclass(slots=True)
class Decision:
    """The connection as decided so far, with what depends on it."""

    place: Place
    claim: Claim
    stated: Source
    """The highest layer that names the provider, be it only to restate it."""
    model: str
    model_source: Source
    dimensions: int | None = None
    dimensions_source: Source = Source.DEFAULT
    fallbacks: Fallbacks | None = None
    fallbacks_source: Source = Source.DEFAULT
    discarded: tuple[Fallbacks | None, Source] = (None, Source.DEFAULT)
    """Alternatives of a lower layer that went with its connection, and that layer."""
    blank: frozenset[str] = frozenset()
    """Endpoint or model that the deciding layer leaves empty, whatever a next hop would inherit."""


def walk(
    kind: ConnectionKind,
    ascending: Iterable[Layer],
    registry: Registry,
    violations: MutableSequence[Violation],
) -> Decision:
    """Read the layers from the lowest up and give what the highest of them leave."""
    place, claim = _UNDECIDED
    decision = Decision(
        place=place,
        claim=claim,
        stated=Source.DEFAULT,
        model=default_model(place.provider, kind),
        model_source=Source.DEFAULT,
    )
    provider_field, endpoint_field, *_ = CONNECTION_FIELDS[kind]
    for layer in ascending:
        # A lone key or reference was refused with the layer itself.
        if provider_field in layer.fields or endpoint_field in layer.fields:
            _decide(kind, decision, layer, registry, violations)
        _depend(kind, decision, layer)
    if kind == "embedding" and decision.dimensions is None:
        known = embedding_model(decision.place.provider, decision.model)
        if known is not None:
            decision.dimensions = known.dimensions
    return decision


def _decide(
    kind: ConnectionKind,
    current: Decision,
    layer: Layer,
    registry: Registry,
    violations: MutableSequence[Violation],
) -> None:
    """The connection of this layer, which names one."""
    provider, endpoint, key, reference = map(layer.fields.get, CONNECTION_FIELDS[kind])
    if endpoint is not None:
        implied = registry.provider_of(endpoint)
        problem = _endpoint_problem(kind, layer.source, provider, endpoint, implied)
        if problem is not None:
            violations.append(problem)
            return
        provider = implied
    assert provider is not None
    current.stated = layer.source
    blank, named = layer.blank, endpoint is not None
    if blank:
        blank &= _BLANK[kind]
        named = named or f"{kind}_endpoint" in blank
    alone = key is None and reference is None and not named
    if alone and _restates(layer, provider, current.place):
        return
    place = Place.of(provider, endpoint)
    hidden = current.claim.source in _UNTOLD
    if (named or hidden) and not place.endpoint:
        blank |= {f"{kind}_endpoint"}
    if provider is not current.place.provider or (blank and f"{kind}_model" in blank):
        current.model, current.model_source = default_model(provider, kind), Source.DEFAULT
        current.dimensions, current.dimensions_source = None, Source.DEFAULT
        if hidden:
            blank |= {f"{kind}_model"}
    # The key of the operator's layer does not travel: it stands here, in this service's own.
    own = layer.forwarded and layer.source is current.claim.source and place == current.place
    if key is not None or reference is not None or not own or registry.was_sent(kind, place):
        current.claim = Claim(layer.source, key, reference)
    current.place, current.blank = place, blank
    if current.fallbacks is not None:
        current.discarded = current.fallbacks, current.fallbacks_source
        current.fallbacks, current.fallbacks_source = None, Source.DEFAULT


def _endpoint_problem(
    kind: ConnectionKind,
    source: Source,
    provider: ModelProvider | None,
    endpoint: str,
    implied: ModelProvider | None,
) -> Violation | None:
    path = field_path(source, f"{kind}_endpoint")
    if implied is None and source is Source.COLLECTION:
        return Violation(
            COLLECTIONS_FIELD,
            f"a collection was written through endpoint {endpoint!r}, which is no longer "
            "registered",
        )
    if implied is None:
        return Violation(path, f"{endpoint!r} is not a registered endpoint: see ListCapabilities")
    if provider is not None and provider is not implied:
        path = field_path(source, f"{kind}_provider")
        return Violation(path, f"endpoint {endpoint!r} belongs to {implied}")
    return None


def _restates(layer: Layer, provider: ModelProvider, place: Place) -> bool:
    """Whether a layer with neither endpoint nor credential only says again what was inherited."""
    if layer.source is Source.COLLECTION:
        # A space without an endpoint is that of the provider's own service, whatever is inherited.
        return Place(provider) == place
    return provider is place.provider


def _depend(kind: ConnectionKind, current: Decision, layer: Layer) -> None:
    """Model, dimensions and fallbacks of this layer, upon the connection as it is now."""
    model_field, other_field = _DEPENDENT[kind]
    model = layer.fields.get(model_field)
    other = layer.fields.get(other_field)
    if model is not None:
        if model != current.model:
            current.dimensions, current.dimensions_source = None, Source.DEFAULT
        current.model, current.model_source = model, layer.source
    if other is None:
        return
    if kind == "embedding":
        current.dimensions, current.dimensions_source = other, layer.source
    else:
        own = current.fallbacks, current.fallbacks_source
        if layer.forwarded:
            other = _with_own_keys(layer.source, other, own, current.discarded)
        current.fallbacks, current.fallbacks_source = other, layer.source


def _with_own_keys(
    source: Source, sent: Fallbacks, *known: tuple[Fallbacks | None, Source]
) -> Fallbacks:
    """The alternatives that were sent: the operator's travel without the keys that stand here."""
    for own, rank in known:
        if own is not None and rank is source and sent == own.without_keys():
            return own
    return sent
