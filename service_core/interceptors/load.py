"""Lets a request begin when the service has room for it."""

import hmac
from collections.abc import Iterable
from typing import Any

from service_core.admission import Admission
from service_core.deadline import Deadline
from service_core.identity import tokens
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed

_INDEXING = frozenset(
    f"/cascada.query.v1.QueryService/{name}" for name in ("IndexDocuments", "ReindexCollection")
)
"""Calls that write for as long as there are documents."""


class LoadInterceptor(HandlerInterceptor):
    """Stands outside of all that costs anything: a refusal is neither identified nor logged.

    Health and reflection are always answered. So are the calls that one service of this process
    makes to another for a request that was let in: refused, it would have been begun for nothing,
    and waiting for one another they could stand still.
    """

    def __init__(self, admission: Admission, own_token: str) -> None:
        """`own_token` is what the services of this process know one another by."""
        self._admission = admission
        self._own_token = own_token

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler once there is room.

        Raises:
            OverloadedError: There is none, or not before the caller's deadline.
        """
        if call.is_infrastructure or self._is_own(call):
            return await proceed()

        def deadline() -> Deadline:
            return Deadline.of_caller(call.context.time_remaining())

        async with self._admission.admitted(deadline, indexing=call.method in _INDEXING):
            call.callers = self._admission.callers
            return await proceed()

    def _is_own(self, call: Call) -> bool:
        metadata: Iterable[tuple[str, str | bytes]] = call.context.invocation_metadata() or ()
        token = tokens.bearer_of(metadata)
        return token is not None and hmac.compare_digest(token.encode(), self._own_token.encode())
