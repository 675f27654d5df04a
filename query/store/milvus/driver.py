"""pymilvus as the store uses it: imported when first needed, kept quiet, its failures ours."""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from query.store.errors import StoreError, StoreUnavailableError
from query.store.milvus.address import Address

Result = TypeVar("Result")

_NOT_LOADED = 101
_UNAVAILABLE = 2

# A server that is back is found within seconds: gRPC would wait up to two minutes. Pings without
# calls, which the client would send, make some servers hang up.
_CHANNEL = {
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.use_local_subchannel_pool": 1,
}

_UNREACHABLE = "The Milvus server cannot be reached; check its address, and that it runs."
_TOO_SLOW = "The Milvus server did not answer in time; try again."
_REFUSED = (
    "The Milvus server refused the credential; check the user and password, or the token, in the "
    "store's URL, and what they may do."
)
_SENTENCES = {
    grpc.StatusCode.UNAVAILABLE: _UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: _TOO_SLOW,
    grpc.StatusCode.UNAUTHENTICATED: _REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: _REFUSED,
}


def too_slow() -> StoreUnavailableError:
    """What a call that outlives its time ends in."""
    return StoreUnavailableError(_TOO_SLOW)


def load() -> None:
    """Import pymilvus, which takes seconds, and keep it to itself."""
    before = set(os.environ)
    try:
        import pymilvus  # noqa: F401, PLC0415 - heavy, and an optional extra
    finally:
        # It reads a .env file near its own code into the environment of the whole process.
        for name in set(os.environ) - before:
            del os.environ[name]
    for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
        # It prints each failure with a traceback to stderr; what matters of it is raised.
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False


def connect(address: Address, seconds: float) -> Any:
    """A client of the server, with a channel of its own."""
    from pymilvus import MilvusClient  # noqa: PLC0415

    return MilvusClient(
        uri=address.uri,
        token=address.token,
        db_name=address.database,
        timeout=seconds,
        dedicated=True,
        grpc_options=_CHANNEL,
    )


def translated(work: Callable[..., Result], *values: object) -> Result:
    """Run `work`; what the client raises becomes a StoreUnavailableError without its text."""
    try:
        return work(*values)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - the client raises gRPC's, its own and built-in ones
        raise StoreUnavailableError(_sentence(error)) from None


def is_not_loaded(error: Exception) -> bool:
    """Whether the server has the table but not in memory, as after a restart."""
    return getattr(error, "code", None) == _NOT_LOADED


def was_answered(error: Exception) -> bool:
    """Whether the server itself says no, rather than that it was not reached."""
    return _transport_code(error) is None and isinstance(getattr(error, "code", None), int)


def _sentence(error: Exception) -> str:
    if (transport := _transport_code(error)) is not None:
        return _SENTENCES.get(transport, _UNREACHABLE)
    code = getattr(error, "code", None)
    if code == _UNAVAILABLE:
        return _UNREACHABLE
    detail = f"Milvus error {code}" if isinstance(code, int) else type(error).__name__
    return f"The Milvus server refused a call of the store ({detail}); its log says why."


def _transport_code(error: Exception) -> grpc.StatusCode | None:
    """The code of gRPC, whose error the client passes on or wraps, or keeps the code of alone."""
    for each in (error, error.__cause__):
        code = getattr(each, "code", None)
        if callable(code):
            code = code()
        if isinstance(code, grpc.StatusCode):
            return code
    return None
