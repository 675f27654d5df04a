"""What has to become of each fault: the table that the tests walk through.

The faults of `tests/upstream` and some that need more than one request; `retry_attempts` is 1.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from aiohttp import web

from config_core.errors import Reason
from tests.upstream.behaviours import Answer, Broken, Flapping, Reset, Silence, Status
from tests.upstream.exchange import JSON, Behaviour, Exchange
from tests.upstream.faults import CHAT_FAULTS


@dataclass(frozen=True)
class Expected:
    """How a request has to end at one connection, and how often that may be asked."""

    reason: Reason | None = None
    """`None` for a whole answer."""
    attempts: int = 1
    restarts: int = 0
    """How often the reader of a stream is told to start again."""
    gap: float = 0.0
    """Seconds that the upstream asked to be left alone for before the next attempt."""


WHOLE = Expected()
FAILED = Expected(Reason.UPSTREAM_FAILED, 2)
SILENT = Expected(Reason.UPSTREAM_FAILED, 1)
BROKEN = Expected(Reason.STREAM_INTERRUPTED, 2, restarts=1)
FELL_SILENT = Expected(Reason.STREAM_INTERRUPTED, 1)
LIMITED = Expected(Reason.RATE_LIMITED, 2)
REJECTED = Expected(Reason.UPSTREAM_REJECTED)
REFUSED = Expected(Reason.UPSTREAM_CREDENTIAL_REJECTED)
AT_SECOND = Expected(None, 2)
RESTARTED = Expected(None, 2, restarts=1)


def _after(seconds: float, expected: Expected) -> Expected:
    return Expected(expected.reason, expected.attempts, expected.restarts, seconds)


@dataclass(frozen=True)
class UntilDate:
    """Refuses with 429 and Retry-After as a date, more than one second away."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Refuse."""
        until = formatdate(int(time.time()) + 2, usegmt=True)
        return await Status(429, headers={"Retry-After": until}).respond(exchange)


@dataclass(frozen=True)
class EndlessRefusal:
    """Refuses with a body that does not end."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Refuse until the client goes away."""
        response = web.StreamResponse(status=500, headers={"Content-Type": JSON})
        await response.prepare(exchange.request)
        while True:
            await response.write(b"x" * 65_536)


@dataclass
class Once:
    """Misbehaves once, and answers well ever after."""

    fault: Behaviour
    _over: bool = field(default=False, init=False)

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        first, self._over = not self._over, True
        return await (self.fault if first else Answer()).respond(exchange)


FAULTS: Mapping[str, Behaviour] = {
    **CHAT_FAULTS,
    "429 until a date": UntilDate(),
    "429 for milliseconds": Status(429, headers={"retry-after-ms": "700", "Retry-After": "9"}),
    "429 for longer than is left": Status(429, headers={"Retry-After": "3600"}),
    "402": Status(402),
    "403": Status(403),
    "409": Status(409),
    "422": Status(422),
    "500 without end": EndlessRefusal(),
    "flapping": Flapping((Status(503), Answer())),
    "one reset": Once(Reset()),
    "one cut": Once(Broken("reset")),
    "one silence": Once(Silence()),
    "one stall": Once(Broken("stall")),
}
"""By name; a behaviour that counts its requests is shared only by those of one key."""

# A row: how it ends in one piece, how as a stream.
EXPECTED: Mapping[str, tuple[Expected, Expected]] = {
    "429 with Retry-After": (_after(1, LIMITED), _after(1, LIMITED)),
    "429 without Retry-After": (LIMITED, LIMITED),
    "500": (FAILED, FAILED),
    "503 with Retry-After": (_after(1, FAILED), _after(1, FAILED)),
    "408": (FAILED, FAILED),
    "400": (REJECTED, REJECTED),
    "401 with the key echoed": (REFUSED, REFUSED),
    "404": (Expected(Reason.MODEL_NOT_FOUND), Expected(Reason.MODEL_NOT_FOUND)),
    "redirect": (REJECTED, REJECTED),
    "reset before headers": (FAILED, FAILED),
    "silence": (SILENT, SILENT),
    "silence after headers": (SILENT, SILENT),
    "slow first token": (WHOLE, WHOLE),
    "cut": (FAILED, BROKEN),
    "end without a finish": (FAILED, BROKEN),
    "stall": (SILENT, FELL_SILENT),
    "malformed chunk": (FAILED, BROKEN),
    "oversized chunk": (FAILED, BROKEN),
    "error in mid-stream": (FAILED, BROKEN),
    "wrong content type": (FAILED, FAILED),
    "missing [DONE]": (WHOLE, WHOLE),
    "missing [DONE], held open": (WHOLE, WHOLE),
    "duplicate ids": (WHOLE, WHOLE),
    "HTTP/1.0 close": (WHOLE, WHOLE),
    "HTTP/1.0 cut": (FAILED, BROKEN),
    "429 until a date": (_after(1, LIMITED), _after(1, LIMITED)),
    "429 for milliseconds": (_after(0.7, LIMITED), _after(0.7, LIMITED)),
    "429 for longer than is left": (Expected(Reason.RATE_LIMITED), Expected(Reason.RATE_LIMITED)),
    "402": (REFUSED, REFUSED),
    "403": (REFUSED, REFUSED),
    "409": (FAILED, FAILED),
    "422": (REJECTED, REJECTED),
    "500 without end": (FAILED, FAILED),
    "flapping": (AT_SECOND, AT_SECOND),
    "one reset": (AT_SECOND, AT_SECOND),
    "one cut": (AT_SECOND, RESTARTED),
    "one silence": (SILENT, SILENT),
    "one stall": (SILENT, FELL_SILENT),
}

FALLS_BACK = frozenset(
    {
        Reason.UPSTREAM_CREDENTIAL_REJECTED,
        Reason.RATE_LIMITED,
        Reason.UPSTREAM_FAILED,
        Reason.STREAM_INTERRUPTED,
    }
)
"""The design's column `falls back`."""
