"""Asks the agent execution service either way, and says how that ended."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.config.v1 import configuration_trace_pb2 as trace_pb2
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from config_core.errors import Reason
from tests.faults.services import Services
from tests.unit.service_core.running import all_of, caught

CALL_SECONDS = 40.0
"""How long a client waits: longer than any request's own limit, which is what has to end it."""

CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.INVALID_CONFIGURATION: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.EMBEDDING_SPACE_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CALLER_CREDENTIAL_REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CREDENTIAL_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UPSTREAM_CREDENTIAL_REJECTED: grpc.StatusCode.UNAVAILABLE,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.MODEL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.UPSTREAM_REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UPSTREAM_FAILED: grpc.StatusCode.UNAVAILABLE,
    Reason.STREAM_INTERRUPTED: grpc.StatusCode.UNAVAILABLE,
    Reason.BUDGET_SPENT: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The design's table, as far as providers' failures go."""


@dataclass(frozen=True)
class Reply:
    """What a caller got."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: Reason | None = None
    """The error's; `None` for an answer, and for an error that is not one of ours."""
    text: str = ""
    arguments: Sequence[str] = ()
    """Of the tool calls, in order."""
    restarts: int = 0
    attempts: Sequence[trace_pb2.Attempt] = ()
    """Those of the hop that called the provider."""
    shown: str = ""
    """Everything that the caller can read of an error."""


@dataclass
class _Stream:
    """A stream as a client puts it together."""

    texts: list[str] = field(default_factory=list)
    arguments: dict[int, str] = field(default_factory=dict)
    restarts: int = 0

    def add(self, event: pb.StreamExecuteResponse) -> None:
        if event.HasField("restarted"):
            self.texts.clear()
            self.arguments.clear()
            self.restarts += 1
        elif event.HasField("tool_call_delta"):
            delta = event.tool_call_delta
            self.arguments[delta.index] = self.arguments.get(delta.index, "") + delta.arguments
        else:
            self.texts.append(event.delta)


async def execute(
    services: Services, message: str, configuration: ModelConfiguration, **fields: Any
) -> Reply:
    """Ask for an answer in one piece."""
    request = pb.ExecuteRequest(message=message, model_configuration=configuration, **fields)

    async def call() -> Reply:
        return _answered(await services.agent.Execute(request, timeout=CALL_SECONDS))

    return await reply_to(call)


async def stream_execute(
    services: Services, message: str, configuration: ModelConfiguration, **fields: Any
) -> Reply:
    """Ask for a stream, and put it together; its parts must be what its last event says."""
    request = pb.StreamExecuteRequest(message=message, model_configuration=configuration, **fields)
    stream = _Stream()

    async def call() -> Reply:
        events = services.agent.StreamExecute(request, timeout=CALL_SECONDS)
        try:
            async for event in events:
                if event.HasField("completed"):
                    reply = _answered(event.completed, stream.restarts)
                    assert "".join(stream.texts) == reply.text
                    together = [stream.arguments[index] for index in sorted(stream.arguments)]
                    assert together == list(reply.arguments)
                    return reply
                stream.add(event)
        finally:
            events.cancel()
        raise AssertionError("the stream ended well, but without its last event")

    return await reply_to(call, stream)


ASK: Mapping[str, Callable[..., Awaitable[Reply]]] = {"chat": execute, "stream": stream_execute}
"""The two ways to ask, by the operation that the upstream sees."""


async def reply_to(call: Callable[[], Awaitable[Reply]], stream: _Stream | None = None) -> Reply:
    """The reply that a call gives, or that the error is which it raises."""
    try:
        return await call()
    except grpc.aio.AioRpcError as error:
        typed = _is_typed(error)
        return Reply(
            code=error.code(),
            reason=caught(error).code_reason if typed else None,
            restarts=stream.restarts if stream else 0,
            attempts=_attempts(caught(error).hops) if typed else (),
            shown=all_of(error),
        )


def _answered(response: pb.ExecuteResponse, restarts: int = 0) -> Reply:
    return Reply(
        text=response.answer,
        arguments=[call.arguments for call in response.tool_calls],
        restarts=restarts,
        attempts=_attempts(response.configuration_trace.hops),
    )


def _attempts(hops: Sequence[object]) -> list[trace_pb2.Attempt]:
    return [
        attempt for hop in hops if isinstance(hop, trace_pb2.HopReport) for attempt in hop.attempts
    ]


def _is_typed(error: grpc.aio.AioRpcError) -> bool:
    """Whether the error carries our ErrorInfo."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # an aio error has what it reads
    info = error_details_pb2.ErrorInfo()
    return status is not None and any(
        detail.Unpack(info) and info.domain == "cascada" for detail in status.details
    )
