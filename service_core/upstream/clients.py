"""Shares one HTTP pool and client per (provider, base URL); the key comes with each call.

A client is made at its first use, what it is made of imported in a thread. It is closed only when
nobody holds it: eviction and shutdown wait for the last lease. Idle clients are looked for whenever
a lease begins or ends, so no task of its own is needed.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from config_core.connection import Connection
from config_core.model_configuration import ModelProvider
from service_core.upstream.dialling import DialGuard, Lookup, look_up


class Transport(StrEnum):
    """What speaks to the providers: our own client over aiohttp, or each provider's SDK."""

    LEAN = "lean"
    SDK = "sdk"


LEAN_MODULE = "service_core.upstream.clients_lean"
"""Where the one client for all protocols is; its `make` takes the protocol first."""

SDK_MODULES: Mapping[ModelProvider, str] = {
    ModelProvider.OPENAI: "service_core.upstream.clients_openai",
    ModelProvider.GROQ: "service_core.upstream.clients_groq",
    ModelProvider.MISTRAL: "service_core.upstream.clients_mistral",
}
"""Where each protocol's SDK is wrapped; imported when the first client is made."""

_LOOK_SECONDS = 1.0
"""How often idle clients are looked for at most."""

# They write prompts, headers and URLs at DEBUG and INFO.
_TALKATIVE = ("openai", "groq", "mistralai", "httpx", "httpx2", "httpcore", "httpcore2")


class Operation(StrEnum):
    """What a provider is asked for."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"


class HttpResponse(Protocol):
    """The part of an HTTP response that both generations of httpx have in common."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, their names in any case."""
        ...

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Read the decoded body, piece by piece."""
        ...


class SharedClient(Protocol):
    """One provider's SDK over one HTTP pool, free of any key."""

    def post(
        self, operation: Operation, body: Mapping[str, Any], *, key: str, stream: bool
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """Ask once, with this key. Leaving closes the response at once.

        Gives the response whatever its status; what fails on the way to it is the SDK's or
        httpx' own exception.
        """
        ...

    async def aclose(self) -> None:
        """Close the HTTP pool."""
        ...


Make = Callable[[DialGuard, str | None], SharedClient]
"""Makes the client of what a guard lets be dialled, through a proxy where there is one."""

_Where = tuple[ModelProvider, str, bool]
"""Protocol, base URL, and whether it may be a private address."""


@dataclass(slots=True)
class _Entry:
    client: SharedClient
    last_used: float
    leases: int = 0
    retired: bool = False


@dataclass(frozen=True, slots=True)
class PoolStats:
    """How the pool stands: clients that are open, leases in use, clients made, leases served."""

    clients: int
    leases: int
    made: int
    served: int


class ClientPool:
    """The clients of one process, for one event loop."""

    def __init__(
        self,
        *,
        transport: Transport = Transport.LEAN,
        max_clients: int = 64,
        idle_seconds: float = 300.0,
        proxy: str | None = None,
        allow_insecure: bool = False,
        lookup: Lookup = look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most `max_clients` that are not in use, each for `idle_seconds` after its last.

        `proxy` is the URL that every call goes through; the environment's proxies are not read.
        `allow_insecure` lets calls go unencrypted to public addresses; `lookup` resolves names.
        """
        self._transport = transport
        self._makers: dict[ModelProvider, Make] = {}
        self._max_clients = max_clients
        self._idle_seconds = idle_seconds
        self._proxy = proxy
        self._allow_insecure = allow_insecure
        self._lookup = lookup
        self._clock = clock
        self._entries: dict[_Where, _Entry] = {}
        self._retired: set[int] = set()
        self._leases = self._made = self._served = 0
        self._closed = False
        self._looked_at = clock()
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)

    @property
    def stats(self) -> PoolStats:
        """Counts for metrics."""
        open_clients = len(self._entries) + len(self._retired)
        return PoolStats(open_clients, self._leases, self._made, self._served)

    @asynccontextmanager
    async def lease(self, connection: Connection) -> AsyncIterator[SharedClient]:
        """Hold the client of the connection's provider and address; RuntimeError once closed."""
        make = self._makers.get(connection.protocol) or await self._import(connection.protocol)
        if self._closed:
            raise RuntimeError("The pool of provider clients is closed.")
        place = (connection.protocol, connection.base_url, connection.private)
        entry = self._entries.pop(place, None)
        if entry is None:
            guard = DialGuard(
                connection.base_url, connection.private, self._allow_insecure, self._lookup
            )
            if self._proxy is not None:
                guard.check_proxied()
            entry = _Entry(make(guard, self._proxy), self._clock())
            self._made += 1
        self._entries[place] = entry  # the last is the one that was used last
        entry.leases += 1
        self._leases += 1
        self._served += 1
        try:
            await self._evict()
            yield entry.client
        finally:
            entry.leases -= 1
            self._leases -= 1
            entry.last_used = self._clock()
            if entry.retired:
                await self._close_if_free(entry)
            else:
                await self._evict()

    async def aclose(self) -> None:
        """Close every client that is free; the others close with their last lease."""
        self._closed = True
        await self._retire(list(self._entries))

    async def _import(self, protocol: ModelProvider) -> Make:
        lean = self._transport is Transport.LEAN
        name = LEAN_MODULE if lean else SDK_MODULES[protocol]
        module = await asyncio.to_thread(importlib.import_module, name)
        make: Make = partial(module.make, protocol) if lean else module.make
        return self._makers.setdefault(protocol, make)

    async def _evict(self) -> None:
        now = self._clock()
        late = now - self._looked_at >= min(self._idle_seconds, _LOOK_SECONDS)
        if not late and len(self._entries) <= self._max_clients:
            return
        self._looked_at = now
        long_ago = now - self._idle_seconds
        idle = [
            place
            for place, entry in self._entries.items()
            if not entry.leases and entry.last_used <= long_ago
        ]
        surplus = len(self._entries) - len(idle) - self._max_clients
        if surplus > 0:
            idle += [place for place in self._entries if place not in idle][:surplus]
        await self._retire(idle)

    async def _retire(self, places: list[_Where]) -> None:
        entries = [self._entries.pop(place) for place in places]
        for entry in entries:
            entry.retired = True
            self._retired.add(id(entry))
        for entry in entries:
            await self._close_if_free(entry)

    async def _close_if_free(self, entry: _Entry) -> None:
        if entry.leases or id(entry) not in self._retired:
            return
        self._retired.discard(id(entry))
        await entry.client.aclose()
