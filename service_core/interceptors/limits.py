"""Holds every request against its tenant's limits."""

from collections.abc import Iterable
from typing import Any

from config_core.errors import CascadaError, Reason
from config_core.snapshot import Snapshots
from service_core.hop import is_hop
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed
from service_core.limits.estimate import estimate
from service_core.limits.limiter import Limiter
from service_core.limits.port import Demand
from service_core.record import recording
from service_core.request_context import tenant_of
from service_core.trace import HopReport

_CALL_PROVIDERS = ("/cascada.query.", "/cascada.embedding.")
_UNKNOWN_USE = frozenset({Reason.BUDGET_SPENT, Reason.STREAM_INTERRUPTED})
"""Failures after which a provider may have worked, and nobody knows how much."""


class LimitsInterceptor(HandlerInterceptor):
    """Stands inside the IdentityInterceptor, which knows the tenant.

    Requests are counted where they enter, tokens where a provider is called: each once, however
    many services a request passes.
    """

    def __init__(self, snapshots: Snapshots, limiter: Limiter) -> None:
        self._snapshots = snapshots
        self._limiter = limiter

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler if there is room for it; health and reflection are not counted."""
        tenant = None if call.is_infrastructure else tenant_of(await call.receive(), call.caller)
        if tenant is None:
            return await proceed()
        demand = self._demand(call, tenant)
        if demand.is_empty:
            return await proceed()
        async with self._limiter.admitted(tenant, demand) as use:
            with recording() as record:
                try:
                    answer = await proceed()
                except CascadaError as error:
                    if error.code_reason not in _UNKNOWN_USE:
                        use.tokens = _tokens(error.hops)
                    raise
                use.tokens = _tokens(record.hops)
                return answer

    def _demand(self, call: Call, tenant: str) -> Demand:
        snapshot = self._snapshots.current
        limits = snapshot.rules(tenant).limits
        enters = not is_hop(call.context, call.caller)
        calls_providers = call.method.startswith(_CALL_PROVIDERS)
        expected = None
        if limits.tokens_per_minute is not None and calls_providers:
            expected = estimate(call.request, tenant, snapshot)
        return Demand(
            requests=limits.requests_per_minute if enters else None,
            concurrent=limits.concurrent_requests if enters else None,
            tokens=None if expected is None else limits.tokens_per_minute,
            estimate=expected or 0,
        )


def _tokens(hops: Iterable[object]) -> int:
    """What this service's own calls to providers have used."""
    return sum(
        hop.usage.input_tokens + hop.usage.output_tokens
        for hop in hops
        if isinstance(hop, HopReport) and hop.usage is not None
    )
