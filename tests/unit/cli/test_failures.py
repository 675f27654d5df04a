import grpc
import pytest
from grpc_status import rpc_status

from cli.exits import ExitCode
from cli.failures import EXIT_CODES, of_call, of_error
from config_core.errors import Reason, RemoteError, Violation
from service_core.status import CODES, to_status


def _sent(error: RemoteError) -> grpc.aio.AioRpcError:
    status = rpc_status.to_status(to_status(error))
    return grpc.aio.AioRpcError(
        status.code,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*status.trailing_metadata),
        status.details,
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_arrives_with_its_code_and_exit_code(reason: Reason) -> None:
    failure = of_call(_sent(RemoteError(reason, "What to do.")), "query", "here")
    assert failure.message == "What to do."
    assert failure.details["reason"] == reason.name
    assert failure.details["code"] == CODES[reason].name
    assert failure.exit_code is EXIT_CODES.get(reason, ExitCode.FAILED)


def test_a_service_that_is_not_there_is_not_a_provider_that_failed() -> None:
    nobody = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "canary"
    )
    failure = of_call(nobody, "query", "host:1")
    assert failure.exit_code is ExitCode.UNREACHABLE
    assert "host:1" in failure.message
    assert "canary" not in failure.message
    upstream = of_call(_sent(RemoteError(Reason.UPSTREAM_FAILED, "x")), "query", "host:1")
    assert upstream.exit_code is ExitCode.FAILED


def test_all_violations_are_told() -> None:
    violations = [Violation("a", "is wrong"), Violation("b", "is worse")]
    error = RemoteError(Reason.INVALID_CONFIGURATION, "a: is wrong", violations=violations)
    failure = of_error(error)
    assert [violation["field"] for violation in failure.details["violations"]] == ["a", "b"]
    assert "b: is worse" in failure.notes


def test_the_wait_is_told() -> None:
    error = RemoteError(Reason.RATE_LIMITED, "Wait.", retry_after=7.0)
    failure = of_error(error)
    assert failure.details["retry_after_seconds"] == 7.0
    assert "try again in 7 s" in failure.notes
