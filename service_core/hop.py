"""Telling the calls of our own services from those of callers: each request enters only once."""

from collections.abc import Iterable
from typing import Any

import grpc

from service_core.channel import is_local_peer
from service_core.identity.caller import Caller
from service_core.record import current_record
from service_core.telemetry.w3c import Metadata

_KEY = "cascada-hop"

MARK = ((_KEY, "1"),)
"""Metadata of a call that one of our services makes for a request that it has let in."""


def hop_metadata() -> Metadata:
    """What goes with such a call: the mark, and the request's place in its trace."""
    record = current_record()
    if record is None or record.trace is None:
        return MARK
    return (*MARK, *record.trace.outgoing)


def is_hop(context: grpc.aio.ServicerContext[Any, Any], caller: Caller | None) -> bool:
    """Whether a call belongs to a request that another service has let in.

    The word of those is taken whose provenance is taken too: an identity with the role service;
    while identity is off, this machine.
    """
    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    if not any(key == _KEY for key, _ in metadata):
        return False
    return is_local_peer(context.peer()) if caller is None else caller.speaks_for_all
