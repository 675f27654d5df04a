"""A gRPC server with what each of ours has: health, reflection, limits, interceptors, a drain."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from service_core.channel import MAX_MESSAGE_BYTES
from service_core.health import Health
from service_core.inside import InsideChannel
from service_core.interceptors.ending import EndingInterceptor
from service_core.interceptors.handler import Entrance, Handler, HandlerInterceptor
from service_core.reflection import Reflection

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Beyond 1000 waiting calls gRPC would cancel some at random.
    ("grpc.server.max_pending_requests", 16_384),
    ("grpc.server.max_pending_requests_hard_limit", 32_768),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Our channels ping every 10 s while a call waits; a server refuses that by default.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

AddServicer = Callable[[Any, Any], None]
"""A generated `add_<Service>Servicer_to_server`."""

_add_reflection: AddServicer = reflection_pb2_grpc.add_ServerReflectionServicer_to_server


class BindError(Exception):
    """The server can't listen on its port; the message names it and says what to do."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} on {host} can't be listened on: another program has it, the host is not "
            "an address of this machine, or this user may not take ports below 1024. End that "
            "program, or choose another port or host."
        )
        self.host = host
        self.port = port


class SocketBindError(BindError):
    """The server can't listen on its unix socket; the message names it and says what to do."""

    def __init__(self, host: str, port: int, socket: Path) -> None:
        super().__init__(host, port)
        text = (
            f"The unix socket {socket} can't be listened on: make its folder, let the service "
            "write there, and keep the path below 100 characters."
        )
        self.args = (text,)


@dataclass(frozen=True, slots=True)
class _Details(grpc.HandlerCallDetails):
    """What a handler is found by."""

    method: str
    invocation_metadata: Any = ()


class _Guarded:
    """What generated code takes for a server: what it adds is called through the entrance."""

    def __init__(self, server: grpc.aio.Server, entrance: Entrance) -> None:
        self._server = server
        self._entrance = entrance
        self._services: list[grpc.GenericRpcHandler] = []

    def find(self, method: str) -> Handler:
        """The handler of a method, as it was added; KeyError."""
        for each in self._services:
            if (handler := each.service(_Details(method))) is not None:
                return handler
        raise KeyError(method)

    def add_generic_rpc_handlers(self, services: Iterable[grpc.GenericRpcHandler]) -> None:
        """Adds services."""
        for each in services:
            self._services.append(each)
            self._server.add_generic_rpc_handlers([self._entrance.around(each)])

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Nothing: gRPC's asyncio servers find their methods by the above."""


class GrpcServer:
    """One server on one port; add the services, start it, say when it is ready, stop it."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        interceptors: Sequence[HandlerInterceptor] = (),
        tls: grpc.ServerCredentials | None = None,
        socket: Path | None = None,
        shared: bool = False,
    ) -> None:
        """Nothing is bound yet.

        Args:
            host: The address to listen on.
            port: The port; 0 takes a free one.
            interceptors: From the outside to the inside; the first is the ErrorInterceptor.
            tls: Credentials of an encrypted port; None is plain text.
            socket: A unix socket to listen on as well, in plain text.
            shared: Whether other processes listen on the port too and get a part of its
                connections. Otherwise two servers on one port would share them without a word.
        """
        self._host = host
        self._port = port
        self._tls = tls
        self._socket = socket
        self._ending = EndingInterceptor()
        options = [*_OPTIONS, ("grpc.so_reuseport", int(shared))]
        self._server = grpc.aio.server(options=options)
        self._entrance = Entrance([*interceptors, self._ending])
        self._guarded = _Guarded(self._server, self._entrance)
        self._services: list[str] = []
        self._health = Health(())
        self._reflection = Reflection(())

    @property
    def host(self) -> str:
        """The address that is listened on."""
        return self._host

    @property
    def port(self) -> int:
        """The port; the one that was taken, once the server has started."""
        return self._port

    @property
    def socket_target(self) -> str | None:
        """The gRPC target of the unix socket; None where there is none."""
        return None if self._socket is None else f"unix:{self._socket}"

    @property
    def services(self) -> tuple[str, ...]:
        """The full names of the services that were added."""
        return tuple(self._services)

    def add(self, service: str, add_servicer: AddServicer, servicer: object) -> None:
        """Adds a service before the start.

        Args:
            service: Its full name, such as `cascada.query.v1.QueryService`.
            add_servicer: The generated `add_QueryServiceServicer_to_server`.
            servicer: The servicer.
        """
        add_servicer(servicer, self._guarded)
        self._services.append(service)

    def channel(self, token: str) -> grpc.aio.Channel:
        """A channel for other services of this process, who are known by the token."""
        return InsideChannel(self._entrance, self._guarded.find, self._services[0], token)

    async def start(self) -> None:
        """Binds and answers; health says NOT_SERVING until `set_serving`.

        Raises:
            BindError: The port can't be listened on.
        """
        self._health = Health(self._services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._guarded)
        self._reflection = Reflection(
            [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        )
        _add_reflection(self._reflection, self._guarded)
        self._port = self._bind()
        await self._server.start()

    async def set_serving(self, service: str | None = None, *, serving: bool = True) -> None:
        """Tells health that one service, or all, are ready or, with `serving=False`, are not.

        Raises:
            KeyError: The server has no such service.
        """
        self._health.set_serving(service, serving=serving)

    async def serving(self) -> None:
        """Waits until everything is SERVING."""
        await self._health.serving()

    async def refuse(self) -> None:
        """Tells health NOT_SERVING for good; calls are still answered until `stop`."""
        self._health.refuse()

    def end_calls(self) -> None:
        """Ends the calls that run, and those that still come, with UNAVAILABLE."""
        self._ending.end()

    async def stop(self, grace: float) -> None:
        """Takes no new calls, lets those that run finish for `grace` seconds, then cuts them off.

        Health watches and reflection streams end at once: gRPC would wait the whole grace for them.
        """
        await self.refuse()
        self._health.end_watches()
        self._reflection.end_streams()
        await self._server.stop(grace)

    async def wait_closed(self) -> None:
        """Waits until the server has stopped."""
        await self._server.wait_for_termination()

    def _bind(self) -> int:
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self._port}"
        try:
            if self._tls is not None:
                port = self._server.add_secure_port(address, self._tls)
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError:
            # Its text only tells how to set gRPC's debug variables.
            raise BindError(self._host, self._port) from None
        if self._socket is not None:
            # After the port: a socket that is there is replaced, and so would be that of a server
            # that has the port and runs.
            try:
                self._server.add_insecure_port(f"unix:{self._socket}")
            except RuntimeError:
                raise SocketBindError(self._host, port, self._socket) from None
        return port
