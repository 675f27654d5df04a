"""How a call has ended, as its caller is told: what is counted, logged and audited."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from config_core.errors import CascadaError, Reason
from service_core.interceptors.handler import Call
from service_core.status import CODES


@dataclass(slots=True)
class Outcome:
    """A call's code, and the name of its error's reason."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""


@contextmanager
def outcome_of(call: Call) -> Iterator[Outcome]:
    """Knows how the block has ended, once it has; every error passes."""
    outcome = Outcome()
    try:
        yield outcome
        outcome.code = _set_code(call, grpc.StatusCode.OK)
    except grpc.aio.AbortError:
        outcome.code = _set_code(call, grpc.StatusCode.UNKNOWN)
        raise
    except asyncio.CancelledError:
        outcome.code = grpc.StatusCode.CANCELLED
        raise
    except CascadaError as error:
        outcome.code, outcome.reason = CODES[error.code_reason], error.code_reason.name
        raise
    except Exception:
        outcome.code, outcome.reason = grpc.StatusCode.INTERNAL, Reason.INTERNAL.name
        raise


def _set_code(call: Call, otherwise: grpc.StatusCode) -> grpc.StatusCode:
    """The code that the handler gave its context by itself."""
    code = call.context.code()
    return code if isinstance(code, grpc.StatusCode) else otherwise
