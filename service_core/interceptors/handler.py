"""The base of our server interceptors: one async context manager around handlers of all four kinds.

Wrapping the continuation is not enough, it only finds the handler: what has to be wrapped is the
handler itself.
"""

import abc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc

# Generic in its stubs only.
_Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Call:
    """One RPC while it runs."""

    method: str
    """Such as `/cascada.query.v1.QueryService/Query`."""
    context: _Context
    request: Any = field(default=None, repr=False)
    """The request, or the first message of a stream once it has been read."""

    requests: AsyncIterator[Any] | None = field(default=None, repr=False)
    """What a streaming caller still sends; None for a single request."""

    @property
    def is_infrastructure(self) -> bool:
        """Whether it belongs to gRPC itself, such as health and reflection."""
        return self.method.startswith("/grpc.")


class HandlerInterceptor(grpc.aio.ServerInterceptor, abc.ABC):
    """Runs every handler inside `around`."""

    @abc.abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Gives what a handler runs in; errors of the handler are raised into it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Found:
        """Replaces the handler that was found by one that runs inside `around`."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return self._wrapped(handler, handler_call_details.method)

    def _wrapped(
        self, handler: "grpc.RpcMethodHandler[Any, Any]", method: str
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        serialization = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            unary = self._unary(method, handler.unary_unary, streamed=False)
            return grpc.unary_unary_rpc_method_handler(unary, **serialization)
        if handler.stream_unary is not None:
            unary = self._unary(method, handler.stream_unary, streamed=True)
            return grpc.stream_unary_rpc_method_handler(unary, **serialization)
        if handler.unary_stream is not None:
            stream = self._stream(method, handler.unary_stream, streamed=False)
            return grpc.unary_stream_rpc_method_handler(stream, **serialization)
        stream = self._stream(method, handler.stream_stream, streamed=True)
        return grpc.stream_stream_rpc_method_handler(stream, **serialization)

    def _unary(self, method: str, inner: Any, *, streamed: bool) -> Any:
        async def run(request: Any, context: _Context) -> Any:
            call = _call(method, context, request, streamed=streamed)
            async with self.around(call):
                result = inner(_noting(request, call) if streamed else request, context)
                return await result if inspect.isawaitable(result) else result

        return run

    def _stream(self, method: str, inner: Any, *, streamed: bool) -> Any:
        async def run(request: Any, context: _Context) -> None:
            call = _call(method, context, request, streamed=streamed)
            async with self.around(call):
                result = inner(_noting(request, call) if streamed else request, context)
                if inspect.isawaitable(result):
                    await result
                    return
                # Closed here, so that a cancelled stream cleans up at once and not when collected.
                async with aclosing(result):
                    async for message in result:
                        await context.write(message)

        return run


def _call(method: str, context: _Context, request: Any, *, streamed: bool) -> Call:
    if streamed:
        return Call(method, context, requests=request)
    return Call(method, context, request)


async def _noting(requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
    """Passes a request stream on and keeps its first message."""
    async for request in requests:
        if call.request is None:
            call.request = request
        yield request
