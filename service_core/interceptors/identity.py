"""Lets in who may call, and lets nobody speak for another tenant."""

from typing import Any

import grpc

from service_core.identity import Guard, acting
from service_core.identity.guard import NotServedError
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed
from service_core.request_context import check_tenant, context_of


class IdentityInterceptor(HandlerInterceptor):
    """The check before every handler: first the identity, then its roles, then the tenant.

    Nothing of the request is read before the first two have passed.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler as the caller that was established; none where identity is off."""
        try:
            found = await self._guard.identify(call.method, call.context)
        except NotServedError:
            await call.context.abort(
                grpc.StatusCode.UNIMPLEMENTED, f"{call.method} is not served here."
            )
        if found is None:
            return await proceed()
        call.caller = found.caller
        found.check()
        if not call.is_infrastructure:
            context = context_of(await call.receive())
            if context is not None:
                check_tenant(context, found.caller)
        with acting(found.caller):
            return await proceed()
