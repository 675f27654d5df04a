"""Calls between services of one process: the same layers and handlers, and no network between.

A service that calls another one does not notice: it holds a channel, gives metadata and a timeout,
gets answers or AioRpcErrors. Only the messages are handed over as they are instead of being copied
through their bytes, so neither side changes one that it has given or got.
"""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from contextvars import Context as Variables
from contextvars import copy_context
from types import TracebackType
from typing import Any, Never, Self

import grpc

from service_core.interceptors.handler import Call, Entrance, Handler

UNREAD = 16
"""How many answers of a stream wait for their reader before the writer waits."""

_Metadata = Iterable[tuple[str, str | bytes]]
_Work = Callable[[Call, Handler], Awaitable[Any]]
_END = object()


class InsideChannel(grpc.aio.Channel):
    """Leads to a server of this process; stubs can be made of it."""

    def __init__(
        self, entrance: Entrance, find: Callable[[str], Handler], name: str, token: str
    ) -> None:
        """Made where no request runs: calls begin with the context variables of that moment.

        Args:
            entrance: The layers of the server.
            find: Gives the handler of a method.
            name: What the caller's address is called in the server's log.
            token: What the services of this process know one another by.
        """
        self._entrance = entrance
        self._find = find
        self._peer = f"unix:{name}"
        self._identity = (("authorization", f"Bearer {token}"),)
        self._variables = copy_context()

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """Gives what makes calls of the method."""
        return self._calls(method, self._entrance.one, _Answer)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Gives what makes calls of the method."""
        return self._calls(method, self._entrance.many, _Answers)

    def stream_unary(self, *_: Any, **__: Any) -> Any:
        """Gives what refuses calls of the method: no service of ours streams to another."""
        return _refuse

    def stream_stream(self, *_: Any, **__: Any) -> Any:
        """Gives what refuses calls of the method: no service of ours streams to another."""
        return _refuse

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002, FBT001, FBT002 # gRPC's signature
        """There is nothing to connect."""
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits for ever, unless it is asked for a state that is not its own."""
        if last_observed_state is grpc.ChannelConnectivity.READY:
            await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """There is nothing to connect."""

    async def close(self, grace: float | None = None) -> None:
        """There is nothing to close: its calls end with those that make them."""

    async def __aenter__(self) -> Self:
        """Gives itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Nothing is left to do."""

    def _calls(self, method: str, work: _Work, kind: type["_Running"]) -> Any:
        handler = self._find(method)

        def call(
            request: Any, *, timeout: float | None = None, metadata: _Metadata | None = None
        ) -> Any:
            sent = (*(metadata or ()), *self._identity)
            context = _Context(request, sent, self._peer, timeout)
            made = Call(method, context, _parse=_as_it_is)
            return kind(lambda: work(made, handler), context, self._variables.copy())

        return call


class _Context(grpc.aio.ServicerContext[Any, Any]):
    """What a handler knows of its call, and by what it answers."""

    def __init__(self, request: Any, metadata: _Metadata, peer: str, timeout: float | None) -> None:
        self.at = None if timeout is None else time.monotonic() + timeout
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.room = asyncio.Semaphore(UNREAD)
        self.is_over = False
        self._request: Any = request
        self._metadata = tuple(metadata)
        self._peer = peer
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Any = ()

    async def read(self) -> Any:
        request, self._request = self._request, grpc.aio.EOF
        return request

    async def write(self, message: Any) -> None:
        if self.is_over:  # nobody reads any more, and so there would never be room
            raise asyncio.InvalidStateError("The call is over.")
        await self.room.acquire()
        self.answers.put_nowait(message)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Nobody reads it."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> Never:
        self._code, self._details, self._trailing = code, details, trailing_metadata
        raise grpc.aio.AbortError

    async def abort_with_status(self, status: Any) -> Never:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = trailing_metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing is compressed."""

    def disable_next_message_compression(self) -> None:
        """Nothing is compressed."""

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:  # type: ignore[override] # None without a deadline
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    def peer(self) -> str:
        return self._peer

    def peer_identities(self) -> None:
        return None

    def peer_identity_key(self) -> None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing

    def error(self) -> grpc.aio.AioRpcError | None:
        """What the caller gets, if the handler has set another code than OK."""
        if self._code in (None, grpc.StatusCode.OK):
            return None
        return _error(self._code, self._details, self._trailing)


class _Running:
    """One call while it runs, in a task and with variables of its own."""

    def __init__(
        self, work: Callable[[], Awaitable[Any]], context: _Context, variables: Variables
    ) -> None:
        loop = asyncio.get_running_loop()
        self._context = context
        self._ended: asyncio.Future[Any] = loop.create_future()
        self._task = loop.create_task(self._run(work), context=variables)
        self._timer = None
        if context.at is not None:
            seconds = max(0.0, context.at - time.monotonic())
            self._timer = loop.call_later(seconds, self._expire)

    def cancel(self) -> bool:
        """Ends it, for whoever is not interested any more."""
        self._end(None, _error(grpc.StatusCode.CANCELLED, "The call was cancelled."))
        return self._task.cancel()

    async def _run(self, work: Callable[[], Awaitable[Any]]) -> None:
        answer, error = None, None
        try:
            answer = await work()
            error = self._context.error()
        except grpc.aio.AbortError:
            error = self._context.error()
        except asyncio.CancelledError:
            error = _error(grpc.StatusCode.CANCELLED, "The call was cancelled.")
        except Exception as fault:  # noqa: BLE001 # as gRPC does; its text is for nobody
            error = _error(grpc.StatusCode.UNKNOWN, f"The handler raised {type(fault).__name__}.")
        self._end(answer, error)

    def _expire(self) -> None:
        self._end(None, _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        self._task.cancel()

    def _end(self, answer: Any, error: grpc.aio.AioRpcError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._context.is_over = True
        if not self._ended.done():
            self._ended.set_result(answer if error is None else error)
        self._context.answers.put_nowait(_END)


class _Answer(_Running):
    """A call with one answer, to be awaited."""

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            ended = yield from self._ended
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if isinstance(ended, grpc.aio.AioRpcError):
            raise ended
        return ended


class _Answers(_Running):
    """A call that answers with a stream."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._read()

    async def _read(self) -> AsyncGenerator[Any, None]:
        answers, room = self._context.answers, self._context.room
        while (answer := await answers.get()) is not _END:
            room.release()
            yield answer
        ended = await self._ended
        if isinstance(ended, grpc.aio.AioRpcError):
            raise ended


def _as_it_is(message: Any) -> Any:
    return message


def _refuse(*_: Any, **__: Any) -> Never:
    raise grpc.aio.UsageError("A service of this process takes no stream from another one.")


def _error(code: grpc.StatusCode | None, details: str, trailing: Any = ()) -> grpc.aio.AioRpcError:
    assert code is not None
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details=details
    )
