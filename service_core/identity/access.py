"""Which roles each RPC takes: one table, and what is not in it is denied to everybody."""

from collections.abc import Mapping
from types import MappingProxyType

from config_core.identity import Access, IdentityRules, Role

_EXECUTION = "/cascada.agent_execution.v1.AgentExecutionService/"
_QUERY = "/cascada.query.v1.QueryService/"
_EMBEDDING = "/cascada.embedding.v1.EmbeddingService/"
_CONFIGURATION = "/cascada.config.v1.ConfigurationService/"
_HEALTH = "/grpc.health.v1.Health/"
_REFLECTION = "/grpc.reflection."

_ASKS = frozenset({Role.CALLER})
_WRITES = frozenset({Role.INDEXER})
# What one of our services asks of the next one.
_PASSES_ON = frozenset({Role.CALLER, Role.SERVICE})
_EXPLAINS = frozenset({Role.CALLER, Role.OPERATOR})

ROLES: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        f"{_EXECUTION}Execute": _ASKS,
        f"{_EXECUTION}StreamExecute": _ASKS,
        f"{_QUERY}Query": _PASSES_ON,
        f"{_QUERY}StreamQuery": _PASSES_ON,
        f"{_QUERY}Search": _ASKS,
        f"{_QUERY}ListCollections": _ASKS,
        f"{_QUERY}GetCollection": _PASSES_ON,
        f"{_QUERY}ListDocuments": _ASKS,
        f"{_QUERY}IndexDocuments": _WRITES,
        f"{_QUERY}DeleteDocuments": _WRITES,
        f"{_QUERY}DeleteCollection": _WRITES,
        f"{_QUERY}ReindexCollection": _WRITES,
        f"{_EMBEDDING}Embed": _PASSES_ON,
        f"{_CONFIGURATION}ResolveConfiguration": _EXPLAINS,
        f"{_CONFIGURATION}ListCapabilities": _EXPLAINS,
    }
)
"""The roles of which a caller needs one, for every RPC of ours."""

NOBODY: frozenset[Role] = frozenset()
_EVERYBODY = frozenset(Role)


def access_of(method: str, rules: IdentityRules) -> tuple[Access, frozenset[Role]]:
    """Who may call a method: in general, and, where an identity is needed, in which roles."""
    if method.startswith(_HEALTH):
        return Access.OPEN, _EVERYBODY
    if method.startswith(_REFLECTION):
        return _narrowed(rules.reflection, _EVERYBODY)
    roles = ROLES.get(method, NOBODY)
    if method.startswith(_CONFIGURATION):
        return _narrowed(rules.configuration_service, roles)
    return Access.IDENTIFIED, roles


def _narrowed(access: Access, roles: frozenset[Role]) -> tuple[Access, frozenset[Role]]:
    return access, roles & {Role.OPERATOR} if access is Access.OPERATOR else roles
