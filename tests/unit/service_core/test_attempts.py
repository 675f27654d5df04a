from typing import Any

import pytest

from config_core.effective import Target
from config_core.errors import CapabilityUnsupportedError, CascadaError, Reason, Violation
from config_core.model_configuration import ModelProvider
from service_core.attempts import Attempt, Outcome
from service_core.upstream.errors import CredentialRejectedError, UpstreamFailedError
from tests.unit.config_core.support import chat, snapshot

OPENAI = ModelProvider.OPENAI


@pytest.fixture
def target() -> Target:
    document: dict[str, Any] = {
        "endpoints": {"corp": {"provider": "openai", "base_url": "https://corp.example/v1"}}
    }
    asked = {"chat_endpoint": "corp", "chat_api_key": "canary-key-0123", "chat_model": "m"}
    return chat(snapshot(document), asked).primary


def test_an_attempt_names_whom_it_called(target: Target) -> None:
    made = Attempt.succeeded(target, wait=0.5, duration=1.5, request_id="req-1")
    assert made == Attempt(
        OPENAI, "corp", "m", Outcome.SUCCEEDED, wait=0.5, duration=1.5, request_id="req-1"
    )


def test_a_failed_attempt_has_the_providers_status_and_request_id(target: Target) -> None:
    error = UpstreamFailedError(OPENAI, "It failed.", status=503, request_id="req-2")
    made = Attempt.failed(target, error, wait=0.0, duration=0.25)
    assert (made.outcome, made.reason) == (Outcome.FAILED, Reason.UPSTREAM_FAILED)
    assert (made.status, made.request_id, made.detail) == (503, "req-2", "It failed.")


def test_a_failure_without_a_status_has_none(target: Target) -> None:
    silent = UpstreamFailedError(OPENAI, "Silence.", silent=True)
    assert Attempt.failed(target, silent, wait=0.0, duration=0.0).status == 0


def test_a_failure_that_is_not_a_providers_is_recorded_too(target: Target) -> None:
    error: CascadaError = CapabilityUnsupportedError([Violation("tools", "are not taken")])
    made = Attempt.failed(target, error, wait=0.0, duration=0.0)
    assert (made.status, made.request_id) == (0, "")


def test_whose_key_was_rejected_decides_the_reason(target: Target) -> None:
    error = CredentialRejectedError(OPENAI, "No.", callers=True, status=401)
    made = Attempt.failed(target, error, wait=0.0, duration=0.0)
    assert made.reason is Reason.CALLER_CREDENTIAL_REJECTED


def test_what_was_passed_over_has_its_reason_and_no_times(target: Target) -> None:
    made = Attempt.skipped(target, Reason.POLICY_VIOLATION, "It is not allowed.")
    assert made == Attempt(
        OPENAI,
        "corp",
        "m",
        Outcome.SKIPPED,
        Reason.POLICY_VIOLATION,
        "It is not allowed.",
    )


def test_no_attempt_shows_the_key(target: Target) -> None:
    made = Attempt.skipped(target, Reason.POLICY_VIOLATION, "No.")
    assert "canary-key-0123" not in repr(made) + repr(target)
