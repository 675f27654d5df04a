"""Connections of aiohttp that are not used again once the provider has said something unasked.

What comes on a connection while it waits in the pool, such as a second answer to one request, would
else be taken for the answer to the next request, which may be another caller's.
"""

import asyncio
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler


class _Handler(ResponseHandler):
    """The connection's protocol, which knows whether anything was asked."""

    idle = False

    def set_response_params(self, **params: Any) -> None:
        """Begin a request."""
        self.idle = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take what comes; unasked it ends the connection."""
        if self.idle and data:
            self.close()
        else:
            super().data_received(data)


class AskingConnector(aiohttp.TCPConnector):
    """A pool of connections on which nothing came but what was asked for."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        made = partial(_Handler, loop=asyncio.get_running_loop())
        self._factory = cast("partial[ResponseHandler]", made)

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        if isinstance(protocol, _Handler):
            protocol.idle = True
