"""Ends a call at its caller's deadline, whatever it waits for."""

from typing import Any

from service_core.deadline import Deadline
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed


class DeadlineInterceptor(HandlerInterceptor):
    """Stands inside those that write down how a call has ended.

    What waits for a provider or another service has ended it before, and its error says more. This
    is for all the rest: stores, limits, keys, a caller who sends slowly. Left to gRPC, a call would
    be cut there without a reason.
    """

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler until just before the deadline.

        Raises:
            BudgetSpentError: It is reached.
        """
        remaining = None if call.is_infrastructure else call.context.time_remaining()
        if remaining is None:
            return await proceed()
        async with Deadline.at_the_latest(remaining).timeout():
            return await proceed()
