"""Holds a request against the ceilings on its parts: passages of a retrieval, texts of an Embed."""

from typing import Any

from config_core.errors import PolicyViolationError, Violation
from config_core.policy import Ceiling
from config_core.rules import Rules
from config_core.snapshot import Snapshots
from service_core.hop import is_hop
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed
from service_core.request_context import tenant_of

DEFAULT_TOP_K = 5
"""What a retrieval takes that does not say, by the contract."""


class CeilingInterceptor(HandlerInterceptor):
    """Stands inside the IdentityInterceptor, which knows the tenant."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler unless the request asks for more than it may.

        Raises:
            PolicyViolationError: It does.
        """
        tenant = None if call.is_infrastructure else tenant_of(await call.receive(), call.caller)
        if tenant is not None:
            rules = self._snapshots.current.rules(tenant)
            violations = [*_passages(call.request, rules), *_texts(call, rules)]
            if violations:
                raise PolicyViolationError(violations)
        return await proceed()


def _passages(request: Any, rules: Rules) -> list[Violation]:
    """What is wrong with the passages asked for; the number that holds by default is brought in."""
    if "retrieval" not in request.DESCRIPTOR.fields_by_name or not request.HasField("retrieval"):
        return []
    if request.retrieval.HasField("top_k"):
        return _violations(rules, "top_k", request.retrieval.top_k, "retrieval.top_k")
    inside = rules.ceiling("top_k", DEFAULT_TOP_K)
    if inside != DEFAULT_TOP_K:
        request.retrieval.top_k = inside
    return []


def _texts(call: Call, rules: Rules) -> list[Violation]:
    """What is wrong with the texts that a caller sends; our own services cut calls as they need."""
    if "texts" not in call.request.DESCRIPTOR.fields_by_name or is_hop(call.context, call.caller):
        return []
    return _violations(rules, "batch", len(call.request.texts), "texts")


def _violations(rules: Rules, name: Ceiling, asked: int, path: str) -> list[Violation]:
    broken = rules.beyond_bound(name, asked)
    return [] if broken is None else [broken.violation(path, name)]
