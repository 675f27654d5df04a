"""What every RPC passes through: one entrance, and the layers around each handler.

gRPC reads a single request before it calls a handler. The entrance takes each call for one whose
requests stream, so that nothing of a request is read, let alone parsed, before every layer has let
the call in.
"""

import abc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from config_core.errors import InvalidArgumentError, Reason, Violation
from service_core.identity.caller import Caller
from service_core.load import UNCOUNTED, Callers

# Generic in its stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Context = grpc.aio.ServicerContext[Any, Any]
Parse = Callable[[bytes], Any]


@dataclass(slots=True)
class Call:
    """One RPC while it runs."""

    method: str
    """Such as `/cascada.query.v1.QueryService/Query`."""
    context: Context
    request: Any = field(default=None, repr=False)
    """The request, or the first message of a stream; None until it has been read."""

    requests: AsyncIterator[Any] | None = field(default=None, repr=False)
    """What a streaming caller still sends, unparsed; None for a single request."""

    response: Any = field(default=None, repr=False)
    """What was answered last; None until something was."""

    caller: Caller | None = None
    """Who calls, once that is known; None where identity is off."""

    callers: Callers = field(default=UNCOUNTED, repr=False)
    """Counts the call while it waits for what its caller sends."""

    _parse: Parse = field(default=bytes, repr=False)

    @property
    def is_infrastructure(self) -> bool:
        """Whether it belongs to gRPC itself, such as health and reflection."""
        return self.method.startswith("/grpc.")

    async def receive(self) -> Any:
        """The request, or the first message of a stream; None for a stream without any."""
        if self.request is None:
            self.request = await self._next()
            if self.request is None and self.requests is None:
                raise _invalid("is missing")
        return self.request

    async def messages(self) -> AsyncIterator[Any]:
        """All messages of a stream, the one that was read before included."""
        if self.request is not None:
            yield self.request
        while (message := await self._next()) is not None:
            if self.request is None:
                self.request = message
            yield message

    async def _next(self) -> Any:
        """What the caller sends next; None at its end."""
        self.callers.begin(self)
        try:
            data = await self.context.read()
        finally:
            self.callers.end(self)
        if data is grpc.aio.EOF:
            return None
        try:
            return self._parse(data)
        except DecodeError:
            raise _invalid("is not a message of this call") from None


Proceed = Callable[[], Awaitable[Any]]
"""Runs what lies inside a layer: the further layers and the handler."""
_Answer = Callable[[Any], Awaitable[Any]]
"""Calls the handler with the request, or with the messages of a stream."""


class HandlerInterceptor(abc.ABC):
    """A layer: every handler runs inside `around`."""

    @abc.abstractmethod
    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Gives what `await proceed()` gives, which raises the errors of the handler.

        The request is read when a layer asks for it with `call.receive()`, at the latest before the
        handler of a single request is called.
        """


class Entrance:
    """Calls handlers inside the layers, whoever the request comes from."""

    def __init__(self, layers: Sequence[HandlerInterceptor]) -> None:
        """`layers` from the outside to the inside."""
        self._layers = layers

    def around(self, services: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The same services as gRPC calls them: each of their handlers inside the layers."""
        return _Guarded(self, services)

    async def one(self, call: Call, handler: Handler) -> Any:
        """Calls a handler that answers once; gives the answer."""
        inner: Any = handler.unary_unary or handler.stream_unary

        async def answer(request: Any) -> Any:
            result = inner(request, call.context)
            call.response = await result if inspect.isawaitable(result) else result
            return call.response

        return await self._within(call, answer)

    async def many(self, call: Call, handler: Handler) -> None:
        """Calls a handler that answers with a stream, which goes to the context."""
        inner: Any = handler.unary_stream or handler.stream_stream

        async def answer(request: Any) -> None:
            result = inner(request, call.context)
            if inspect.isawaitable(result):
                await result
                return
            # Closed here, so that a cancelled stream cleans up at once and not when collected.
            async with aclosing(result):
                async for message in result:
                    call.response = message
                    await call.context.write(message)

        await self._within(call, answer)

    def _within(self, call: Call, answer: _Answer, depth: int = 0) -> Awaitable[Any]:
        """Answer inside the layers from this one on."""
        if depth == len(self._layers):
            return _innermost(call, answer)
        return self._layers[depth].around(call, partial(self._within, call, answer, depth + 1))


class _Guarded(grpc.GenericRpcHandler):
    """Services as gRPC sees them: every call streams in, unparsed."""

    def __init__(self, entrance: Entrance, services: grpc.GenericRpcHandler) -> None:
        self._entrance = entrance
        self._services = services
        self._known: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Found:
        """The handler of a method; None where these services have no such method."""
        method = handler_call_details.method
        known = self._known.get(method)
        if known is None:
            found = self._services.service(handler_call_details)
            if found is None:
                return None
            known = self._known[method] = self._handler(method, found)
        return known

    def _handler(self, method: str, handler: Handler) -> Handler:
        parse, serializer = handler.request_deserializer or bytes, handler.response_serializer
        entrance = self._entrance

        def call(raw: AsyncIterator[bytes], context: Context) -> Call:
            return Call(
                method, context, requests=raw if handler.request_streaming else None, _parse=parse
            )

        if handler.response_streaming:

            async def many(raw: AsyncIterator[bytes], context: Context) -> None:
                await entrance.many(call(raw, context), handler)

            return grpc.stream_stream_rpc_method_handler(many, response_serializer=serializer)

        async def one(raw: AsyncIterator[bytes], context: Context) -> Any:
            return await entrance.one(call(raw, context), handler)

        return grpc.stream_unary_rpc_method_handler(one, response_serializer=serializer)


async def _innermost(call: Call, answer: _Answer) -> Any:
    return await answer(call.messages() if call.requests is not None else await call.receive())


def _invalid(why: str) -> InvalidArgumentError:
    return InvalidArgumentError([Violation("request", why, Reason.INVALID_ARGUMENT)])
