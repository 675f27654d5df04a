import re
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import configuration_trace_pb2
from cascada.config.v1.configuration_source_pb2 import CONFIGURATION_SOURCE_REQUEST
from google.rpc import error_details_pb2, status_pb2

from config_core.errors import (
    CascadaError,
    CredentialMissingError,
    InvalidConfigurationError,
    OverloadedError,
    Reason,
    RemoteError,
    Violation,
)
from service_core.channel import create_channel
from service_core.interceptors import ErrorInterceptor, forwarded_trace
from service_core.status import CODES, MAX_STATUS_BYTES, from_status, to_status
from tests.unit.service_core.probe import failure, raising, serving


def _same(error: CascadaError) -> CascadaError:
    return error


async def over_the_wire(error: CascadaError, hops: int = 1) -> CascadaError:
    """What a caller rebuilds after an error went over a number of real hops."""
    for _ in range(hops):
        behaviour = raising(partial(_same, error))
        async with serving(behaviour, [ErrorInterceptor()]) as channel:
            error = from_status(await failure(channel), "query")
    return error


def details(status: status_pb2.Status, kind: type) -> list[Any]:
    found: list[Any] = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def large_trace(
    *, sources: int, dropped: int, hops: int = 1
) -> configuration_trace_pb2.ConfigurationTrace:
    trace = configuration_trace_pb2.ConfigurationTrace()
    for number in range(hops):
        hop = trace.hops.add(service="query")
        hop.effective.resolved_model = f"model-{number}"
        for index in range(sources):
            hop.effective.sources[f"a_field_with_a_name_{index}"] = CONFIGURATION_SOURCE_REQUEST
        for index in range(dropped):
            hop.effective.dropped.add(
                field=f"option_{index}", reason="The model has no such option."
            )
    return trace


def plain(
    code: grpc.StatusCode, text: str = "ipv4:10.0.0.7:50052: tcp internals"
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), text, text)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_code(reason: Reason) -> None:
    assert CODES[reason] is not grpc.StatusCode.OK


def test_the_reasons_are_those_of_the_wire_enum() -> None:
    names = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    wire = {name.removeprefix("ERROR_REASON_") for name in names}
    assert wire - {"UNSPECIFIED"} == set(Reason.__members__)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_code_is_the_one_that_the_contract_names(reason: Reason) -> None:
    # The comment of each enum value ends its first sentence with the code.
    proto = Path(__file__).parents[3] / "protos/cascada/common/v1/error_reason.proto"
    comment = re.search(
        rf"((?:  //[^\n]*\n)+)  ERROR_REASON_{reason.name} = ", proto.read_text("utf-8")
    )
    assert comment is not None
    words = set(re.findall(r"\b[A-Z_]{5,}\b", comment[1].split("Metadata:")[0]))
    assert CODES[reason].name in words


async def test_an_error_passes_over_two_hops_unchanged() -> None:
    sent = RemoteError(
        Reason.RATE_LIMITED,
        "OpenAI asks for patience: try again in 2.5 s, «mañana».",
        metadata={"provider": "openai", "status": "429"},
        retry_after=2.5,
    )
    got = await over_the_wire(sent, hops=2)
    assert (got.code_reason, got.message, got.metadata, got.retry_after) == (
        Reason.RATE_LIMITED,
        sent.message,
        sent.metadata,
        2.5,
    )


async def test_violations_pass_over_two_hops_with_their_reasons() -> None:
    violations = [
        Violation("model_configuration.temperature", "must lie between 0 and 2"),
        Violation("message", "must not be empty", Reason.INVALID_ARGUMENT),
    ]
    got = await over_the_wire(InvalidConfigurationError(violations), hops=2)
    assert list(got.violations) == violations


async def test_the_trace_passes_over_two_hops() -> None:
    error = CredentialMissingError("Set GROQ_API_KEY or model_configuration.chat_api_key.")
    error.hops = tuple(large_trace(sources=3, dropped=2).hops)
    assert (await over_the_wire(error, hops=2)).hops == error.hops


async def test_beyond_twenty_violations_the_rest_is_counted_on_every_hop() -> None:
    error = InvalidConfigurationError([Violation(f"f{n}", "is wrong") for n in range(33)])
    got = await over_the_wire(error, hops=2)
    assert len(got.violations) == 20
    (request,) = details(to_status(got), error_details_pb2.BadRequest)
    assert request.field_violations[20].description == "and 13 more"
    assert got.metadata["violations"] == "33"


def test_metadata_values_are_cut_to_200_characters() -> None:
    status = to_status(CascadaError("Wrong.", metadata={"model": "m" * 500}))
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert info.metadata["model"] == "m" * 199 + "…"


@pytest.mark.parametrize("retry_after", [float("inf"), float("nan"), -1.0, 1e300])
def test_an_odd_wait_does_not_break_the_status(retry_after: float) -> None:
    error = OverloadedError("Busy.")
    error.retry_after = retry_after
    for info in details(to_status(error), error_details_pb2.RetryInfo):
        assert info.retry_delay.ToSeconds() <= 86_400


def test_a_key_in_a_message_is_masked() -> None:
    error = CascadaError("Got sk-proj-0123456789abcdef.", metadata={"x": "Bearer abcdefgh12"})
    assert b"0123456789abcdef" not in to_status(error).SerializeToString()
    assert b"abcdefgh12" not in to_status(error).SerializeToString()


@pytest.mark.parametrize(
    ("sources", "dropped", "left"),
    [
        (10, 10, "everything"),
        (10, 200, "no dropped options"),
        (200, 200, "no sources"),
    ],
)
def test_the_trace_shrinks_in_steps(sources: int, dropped: int, left: str) -> None:
    status = to_status(CascadaError("Wrong."), large_trace(sources=sources, dropped=dropped))
    (trace,) = details(status, configuration_trace_pb2.ConfigurationTrace)
    effective = trace.hops[0].effective
    assert effective.resolved_model == "model-0"
    assert bool(effective.dropped) == (left == "everything")
    assert bool(effective.sources) == (left != "no sources")


def test_a_trace_that_does_not_fit_at_all_is_left_out_and_the_violations_stay() -> None:
    error = InvalidConfigurationError([Violation("f", "is wrong")] * 5)
    status = to_status(error, large_trace(sources=1, dropped=0, hops=400))
    assert not details(status, configuration_trace_pb2.ConfigurationTrace)
    (request,) = details(status, error_details_pb2.BadRequest)
    assert len(request.field_violations) == 5


def test_a_hop_without_a_configuration_survives_the_shrinking() -> None:
    trace = large_trace(sources=0, dropped=300)
    trace.hops.add(service="embedding")
    (compact,) = details(
        to_status(CascadaError("Wrong."), trace), configuration_trace_pb2.ConfigurationTrace
    )
    assert not compact.hops[1].HasField("effective")


@pytest.mark.parametrize("character", ["x", "ñ", "漢", "🙂", "%", "\ud800", "\n"])
async def test_the_worst_error_arrives_whole(character: str) -> None:
    error = RemoteError(
        Reason.INVALID_CONFIGURATION,
        "Wrong: " + character * 5000,
        metadata={f"key{n}": character * 5000 for n in range(40)},
        violations=[Violation(character * 5000, character * 5000)] * 50,
        retry_after=1.0,
    )
    error.hops = tuple(large_trace(sources=300, dropped=300).hops)
    assert to_status(error, forwarded_trace(error)).ByteSize() <= MAX_STATUS_BYTES
    got = await over_the_wire(error)
    assert got.code_reason is Reason.INVALID_CONFIGURATION
    assert got.message.startswith("Wrong:")


async def test_a_service_that_is_down_is_upstream_failed_and_names_the_target() -> None:
    async with create_channel("unix:/nonexistent/query.sock") as channel:
        got = from_status(await failure(channel), "query", "unix:/nonexistent/query.sock")
    assert got.code_reason is Reason.UPSTREAM_FAILED
    assert got.message.startswith("The query service can't be reached at unix:/nonexistent/")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.UPSTREAM_FAILED),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.BUDGET_SPENT),
        (grpc.StatusCode.CANCELLED, Reason.UPSTREAM_FAILED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.INTERNAL),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.INTERNAL),
        (grpc.StatusCode.UNKNOWN, Reason.INTERNAL),
        (grpc.StatusCode.DATA_LOSS, Reason.INTERNAL),
    ],
)
def test_a_failure_of_grpc_itself_gets_a_sentence_of_ours(
    code: grpc.StatusCode, reason: Reason
) -> None:
    got = from_status(plain(code), "query")
    assert got.code_reason is reason
    assert "internals" not in got.message
    assert "query service" in got.message


@pytest.mark.parametrize("damaged", [b"\xff\xff\xff", b""])
def test_damaged_details_count_as_none(damaged: bytes) -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", damaged)),
        "internals",
    )
    assert from_status(error, "query").code_reason is Reason.UPSTREAM_FAILED


def test_an_error_info_of_another_domain_is_not_ours() -> None:
    status = status_pb2.Status(code=14, message="theirs")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="proxy", reason="OVERLOADED"))
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString())),
        "theirs",
    )
    assert "theirs" not in from_status(error, "query").message
