"""Reflection whose streams a draining server can end."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2


class _MethodPool:
    """A descriptor pool that also finds the file of a method, as clients describe them."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 # protobuf's name
        """Find the file of a service, message, enum or method; KeyError where there is none."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return (
                self._pool.FindServiceByName(service)
                .methods_by_name[method]
                .containing_service.file
            )


class Reflection:
    """The stock servicer, except that its streams end when told to.

    They end between two requests only: gRPC can hold a server up for the whole grace over a call
    that is cancelled while it writes.
    """

    def __init__(self, services: Iterable[str]) -> None:
        # Its stubs do not know that it is an async generator.
        self._stock: Any = reflection.aio.ReflectionServicer(
            service_names=services, pool=_MethodPool(descriptor_pool.Default())
        )
        self._waiting: set[asyncio.Timeout] = set()
        self._ended = False

    def end_streams(self) -> None:
        """Ends every stream that waits for a request, now and from now on."""
        if self._ended:
            return
        self._ended = True
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            scope.reschedule(now)

    async def ServerReflectionInfo(  # noqa: N802 # the RPC's name
        self,
        request_iterator: AsyncIterator[reflection_pb2.ServerReflectionRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """Answers each request of the stream."""
        requests = self._until_end(request_iterator)
        async for answer in self._stock.ServerReflectionInfo(requests, context):
            yield answer

    async def _until_end(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest]
    ) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        while True:
            scope = asyncio.timeout(0 if self._ended else None)
            try:
                async with scope:
                    self._waiting.add(scope)
                    request = await anext(requests)
            except (TimeoutError, StopAsyncIteration):
                return
            finally:
                self._waiting.discard(scope)
            yield request
