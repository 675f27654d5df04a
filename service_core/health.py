"""Health per service, and of the whole server under the empty name."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

_Context = grpc.aio.ServicerContext[Any, Any]


class Health:
    """A health servicer: NOT_SERVING until told otherwise, the whole until each service serves.

    The stock servicer has no way to end its watches, and a watch that is cancelled while it writes
    can hold the server up for the whole grace.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._serving = dict.fromkeys(services, False)
        self._refusing = False
        self._ended = False
        self._changed = asyncio.Event()

    def set_serving(self, service: str | None = None, *, serving: bool = True) -> None:
        """Sets one service, or all, to SERVING or NOT_SERVING. After `refuse` it changes nothing.

        Raises:
            KeyError: The server has no such service.
        """
        for name in tuple(self._serving) if service is None else (service,):
            if name not in self._serving:
                raise KeyError(name)
            self._serving[name] = serving
        self._announce()

    async def serving(self) -> None:
        """Waits until the whole serves; after `refuse` it never does."""
        while self._refusing or not all(self._serving.values()):
            await self._changed.wait()

    def refuse(self) -> None:
        """Sets everything to NOT_SERVING for good."""
        self._refusing = True
        self._announce()

    def end_watches(self) -> None:
        """Lets every watch tell the last state and end."""
        self._ended = True
        self._announce()

    async def Check(  # noqa: N802 # the RPC's name
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        """Tells the state of a service; an unknown one is NOT_FOUND."""
        if self._is_unknown(request.service):
            await context.abort(grpc.StatusCode.NOT_FOUND, "The server has no such service.")
        return self._state(request.service)

    async def List(  # noqa: N802 # the RPC's name
        self,
        request: health_pb2.HealthListRequest,  # noqa: ARG002 # it has no fields
        context: _Context,  # noqa: ARG002 # the RPC's signature
    ) -> health_pb2.HealthListResponse:
        """Tells the state of the whole and of every service."""
        names = ("", *self._serving)
        return health_pb2.HealthListResponse(statuses={name: self._state(name) for name in names})

    async def Watch(  # noqa: N802 # the RPC's name
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Tells the state of a service, and each change of it, until the server drains."""
        told = None
        while True:
            changed = self._changed
            state = self._state(request.service)
            if state != told:
                yield state
                told = state
            elif self._ended:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            else:
                await changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _is_unknown(self, service: str) -> bool:
        return bool(service) and service not in self._serving

    def _state(self, service: str) -> health_pb2.HealthCheckResponse:
        states = health_pb2.HealthCheckResponse
        if self._is_unknown(service):
            return states(status=states.SERVICE_UNKNOWN)
        serving = self._serving[service] if service else all(self._serving.values())
        return states(
            status=states.SERVING if serving and not self._refusing else states.NOT_SERVING
        )
