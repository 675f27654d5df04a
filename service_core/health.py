"""Health per service, and of the whole server under the empty name."""

from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2


class Health(health.aio.HealthServicer):
    """NOT_SERVING until told otherwise; the whole serves when each of its services does."""

    def __init__(self, services: Iterable[str]) -> None:
        super().__init__()
        self._serving = dict.fromkeys(services, False)

    async def publish(self) -> None:
        """Makes the services known; called once, before the server starts."""
        await self._announce()

    async def set_serving(self, service: str | None = None, *, serving: bool = True) -> None:
        """Sets one service, or all, to SERVING or NOT_SERVING. After `shut_down` it does nothing.

        Raises:
            KeyError: The server has no such service.
        """
        for name in tuple(self._serving) if service is None else (service,):
            if name not in self._serving:
                raise KeyError(name)
            self._serving[name] = serving
        await self._announce()

    async def shut_down(self) -> None:
        """Sets everything to NOT_SERVING for good."""
        await self.enter_graceful_shutdown()

    async def _announce(self) -> None:
        for name, serving in {**self._serving, "": all(self._serving.values())}.items():
            await self.set(
                name,
                health_pb2.HealthCheckResponse.SERVING
                if serving
                else health_pb2.HealthCheckResponse.NOT_SERVING,
            )
