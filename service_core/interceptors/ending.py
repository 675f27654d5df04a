"""Ends the calls that still run when a server has no more time for them."""

import asyncio
from typing import Any

from config_core.errors import Reason, RemoteError
from service_core.interceptors.handler import Call, HandlerInterceptor, Proceed


class EndingInterceptor(HandlerInterceptor):
    """The innermost layer: those around it see a call that was ended as one that has failed.

    Left to gRPC, such a call would be cut with its connection, and its caller told nothing.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()
        self._ended = False

    def end(self) -> None:
        """End every call, those that still come included; health and reflection end otherwise."""
        self._ended = True
        for task in self._running:
            task.cancel()

    def has_ended(self) -> bool:
        """Whether it has ended the calls."""
        return self._ended

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Runs the handler until it is ended; its caller may try again, here or elsewhere.

        Raises:
            RemoteError: UPSTREAM_FAILED, as for any service that goes away.
        """
        task = asyncio.current_task()
        if call.is_infrastructure or task is None:
            return await proceed()
        if self.has_ended():
            raise _shutting_down()
        self._running.add(task)
        try:
            return await proceed()
        except asyncio.CancelledError:
            if not self.has_ended():
                raise
            task.uncancel()
            raise _shutting_down() from None
        finally:
            self._running.discard(task)


def _shutting_down() -> RemoteError:
    return RemoteError(
        Reason.UPSTREAM_FAILED, "The service shuts down and has ended the call: try again."
    )
