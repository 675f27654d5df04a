"""A channel that sends an identity with every call, and takes over new certificates as it runs.

gRPC's own channel keeps the credentials that it was opened with. This one opens another in its
place: calls that run end on the old one, which is closed when the last of them has.
"""

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import grpc

OPENING_SECONDS = 1.0
"""How long calls keep to the old channel while the new one connects."""
DRAIN_SECONDS = 3600.0
"""How long a call may still run on a channel that was replaced; no call of ours takes longer."""

_Pair = tuple[str, str | bytes]


class IdentifiedChannel(grpc.aio.Channel):
    """Stands in for a channel; stubs can be made of it."""

    def __init__(
        self, open_channel: Callable[[], grpc.aio.Channel], token: Callable[[], str | None]
    ) -> None:
        """`open_channel` opens one with the certificates in force; `token` gives that in force."""
        self._open = open_channel
        self._token = token
        self._channel = open_channel()
        self._draining: dict[asyncio.Task[None], grpc.aio.Channel] = {}
        self._closed = False

    async def renew(self) -> None:
        """Take new certificates for all calls from now on, or from when they have connected."""
        fresh = self._open()
        try:
            if self.get_state() is grpc.ChannelConnectivity.READY:
                async with asyncio.timeout(OPENING_SECONDS):
                    await fresh.channel_ready()
        except TimeoutError:
            pass  # calls say what is wrong with it
        except BaseException:
            await fresh.close()
            raise
        if self._closed:
            await fresh.close()
            return
        old, self._channel = self._channel, fresh
        task = asyncio.create_task(old.close(DRAIN_SECONDS), name="channel-drain")
        self._draining[task] = old
        task.add_done_callback(self._draining.pop)

    @property
    def is_closed(self) -> bool:
        """Whether its owner has closed it."""
        return self._closed

    @property
    def in_force(self) -> grpc.aio.Channel:
        """The channel that a call is made on now."""
        return self._channel

    def identified(self, metadata: Iterable[_Pair] | None) -> tuple[_Pair, ...]:
        """A call's metadata with the identity."""
        token = self._token()
        identity = () if token is None else (("authorization", f"Bearer {token}"),)
        return (*(metadata or ()), *identity)

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """Gives what makes calls of the method."""
        return _Method(self, lambda channel: channel.unary_unary(*arguments, **named))

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """Gives what makes calls of the method."""
        return _Method(self, lambda channel: channel.unary_stream(*arguments, **named))

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """Gives what makes calls of the method."""
        return _Method(self, lambda channel: channel.stream_unary(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """Gives what makes calls of the method."""
        return _Method(self, lambda channel: channel.stream_stream(*arguments, **named))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 # gRPC's signature
        """The state of the channel in force."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits for another state of the channel in force."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Waits until the channel in force is connected."""
        await self._channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Closes it; calls that run get `grace` seconds on the channel in force."""
        self._closed = True
        for task, channel in tuple(self._draining.items()):
            task.cancel()
            await asyncio.wait([task])
            await channel.close()
        await self._channel.close(grace)

    async def __aenter__(self) -> Self:
        """Gives itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Closes it."""
        await self.close()


class _Method:
    """Makes calls of one method, each on the channel that is in force when it is made."""

    def __init__(
        self, owner: IdentifiedChannel, bind: Callable[[grpc.aio.Channel], Callable[..., Any]]
    ) -> None:
        self._owner = owner
        self._bind = bind
        self._channel = owner.in_force
        self._call = bind(self._channel)

    def __call__(
        self, *arguments: Any, metadata: Iterable[_Pair] | None = None, **options: Any
    ) -> Any:
        channel = self._owner.in_force
        if channel is not self._channel:
            self._channel, self._call = channel, self._bind(channel)
        return self._call(*arguments, metadata=self._owner.identified(metadata), **options)
