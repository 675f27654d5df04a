"""Writes a line of the audit for every request."""

import time
from typing import Any

from pydantic import SecretStr

from config_core.errors import CascadaError
from service_core import audit
from service_core.hop import is_hop
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed
from service_core.interceptors.outcome import Outcome, outcome_of
from service_core.record import recording


class AuditInterceptor(HandlerInterceptor):
    """Stands outside of whatever may refuse a request, so that those stand in the audit too."""

    def __init__(
        self,
        service: str,
        *,
        fingerprint_key: SecretStr | None = None,
        content: bool = False,
    ) -> None:
        """`content` has the lines hold what was asked and answered."""
        self._service = service
        self._fingerprint_key = fingerprint_key
        self._content = content

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler, and writes its line at the end. Health and reflection have none."""
        if call.is_infrastructure or not audit.is_enabled():
            return await proceed()
        started = time.perf_counter()
        outcome = Outcome()
        with recording() as record:
            try:
                with outcome_of(call) as outcome:
                    return await proceed()
            except CascadaError as error:
                record.hops = error.hops or record.hops
                raise
            finally:
                entry = audit.Entry(
                    service=self._service,
                    method=call.method,
                    peer=call.context.peer(),
                    caller=call.caller,
                    request=call.request,
                    response=call.response,
                    record=record,
                    enters=not is_hop(call.context, call.caller),
                    code=outcome.code.name,
                    reason=outcome.reason,
                    duration=time.perf_counter() - started,
                )
                audit.write(entry.facts(self._fingerprint_key, content=self._content))
