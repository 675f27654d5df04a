"""What each status, code and text of a provider means here."""

import json

import pytest
from pydantic import SecretStr

from config_core.connection import Connection, Credential, Owner
from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from service_core.upstream.errors import (
    ContentRefusedError,
    ContextTooLongError,
    CredentialRejectedError,
    ModelNotFoundError,
    RateLimitedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.upstream.translate import from_error_object, from_response, request_id_of

KEY = "canary-9f8e7d6c5b4a"


def _connection(
    provider: ModelProvider = ModelProvider.OPENAI, owner: Owner = Owner.OPERATOR
) -> Connection:
    credential = Credential(SecretStr(KEY), Source.REQUEST, owner)
    return Connection(provider, "", "http://x", private=False, source=Source.REQUEST,
                      credential=credential)  # fmt: skip


def _translated(
    status: int,
    data: object = None,
    headers: dict[str, str] | None = None,
    connection: Connection | None = None,
) -> UpstreamError:
    body = json.dumps(data or {"error": {"message": "No.", "type": "x", "code": None}}).encode()
    return from_response(connection or _connection(), "m-1", status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRejectedError),
        (401, CredentialRejectedError),
        (402, CredentialRejectedError),
        (403, CredentialRejectedError),
        (404, ModelNotFoundError),
        (405, UpstreamRejectedError),
        (408, UpstreamFailedError),
        (409, UpstreamFailedError),
        (413, UpstreamRejectedError),
        (422, UpstreamRejectedError),
        (429, RateLimitedError),
        (498, UpstreamRejectedError),
        (500, UpstreamFailedError),
        (502, UpstreamFailedError),
        (503, UpstreamFailedError),
        (529, UpstreamFailedError),
        (202, UpstreamFailedError),
        (301, UpstreamRejectedError),
        (307, UpstreamRejectedError),
    ],
)
def test_a_status_without_a_code_decides(status: int, kind: type[UpstreamError]) -> None:
    error = _translated(status)
    assert type(error) is kind
    assert error.status == status
    assert error.metadata["status"] == str(status)


def _openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> object:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _mistral(
    message: object, code: str | None = None, kind: str = "invalid_request_error"
) -> object:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (400, _openai("Too long.", "context_length_exceeded"), ContextTooLongError),
        (400, _openai("This model's maximum context length is 8192 tokens."), ContextTooLongError),
        (400, {"error": {"code": 400, "message": "the request exceeds the available context size",
                         "type": "exceed_context_size_error", "n_ctx": 4096}}, ContextTooLongError),
        (500, _openai("Too long.", None, "exceed_context_size_error"), ContextTooLongError),
        (400, _mistral("Prompt contains 40000 tokens and 0 draft tokens, too large for model with "
                       "32768 maximum context length"), ContextTooLongError),
        (400, _mistral("Input id 0 has 9000 tokens, exceeding max 8192 tokens."),
         ContextTooLongError),
        (422, _mistral({"detail": [{"loc": ["body"], "msg": "prompt is too long"}]}),
         ContextTooLongError),
        (413, _openai("Request too large on tokens per minute", "rate_limit_exceeded"),
         UpstreamRejectedError),
        (400, _openai("Filtered.", "content_filter"), ContentRefusedError),
        (400, _openai("Flagged.", "content_policy_violation"), ContentRefusedError),
        (403, {"error": {"message": "No.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         ContentRefusedError),
        (400, _openai("Gone.", "model_decommissioned"), ModelNotFoundError),
        (403, _openai("No access.", "model_not_found"), ModelNotFoundError),
        (400, _mistral("Invalid model: m-1", "1500", "invalid_model"), ModelNotFoundError),
        (404, {"error": 'model "m-1" not found'}, ModelNotFoundError),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]},
         UpstreamRejectedError),
        (429, _openai("Quota.", "insufficient_quota", "insufficient_quota"), RateLimitedError),
    ],
)  # fmt: skip
def test_a_code_or_text_says_more_than_the_status(
    status: int, data: object, kind: type[UpstreamError]
) -> None:
    assert type(_translated(status, data)) is kind


def test_groqs_own_status_for_capacity_is_a_rate_limit() -> None:
    error = _translated(498, connection=_connection(ModelProvider.GROQ))
    assert type(error) is RateLimitedError


def test_a_rate_limit_is_retryable_and_says_when() -> None:
    error = _translated(429, headers={"retry-after": "3"})
    assert (error.retryable, error.retry_after) == (True, 3.0)


def test_a_spent_quota_is_not_retryable() -> None:
    error = _translated(429, _openai("Quota.", "insufficient_quota"), {"retry-after": "3"})
    assert (error.retryable, error.retry_after) == (False, None)


def test_an_unavailable_provider_says_when() -> None:
    assert _translated(503, headers={"retry-after": "3"}).retry_after == 3.0


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (Owner.CALLER, Reason.CALLER_CREDENTIAL_REJECTED),
        (Owner.TENANT, Reason.CALLER_CREDENTIAL_REJECTED),
        (Owner.OPERATOR, Reason.UPSTREAM_CREDENTIAL_REJECTED),
    ],
)
def test_whose_key_was_refused_decides_the_reason(owner: Owner, reason: Reason) -> None:
    assert _translated(401, connection=_connection(owner=owner)).code_reason is reason


@pytest.mark.parametrize("data", [None, [], "no", 7, {"error": []}, {"error": {"message": 7}}])
def test_an_error_body_of_any_form_is_survived(data: object) -> None:
    body = json.dumps(data).encode()
    error = from_response(_connection(), "m-1", 400, {}, body)
    assert type(error) is UpstreamRejectedError


def test_an_error_body_that_is_not_json_is_survived() -> None:
    error = from_response(_connection(), "m-1", 502, {}, b"<html>Bad gateway</html>")
    assert type(error) is UpstreamFailedError
    assert "html" not in error.message


def test_the_providers_reason_is_passed_on_where_it_helps() -> None:
    assert "Extra inputs" in _translated(422, {"detail": [{"msg": "Extra inputs"}]}).message
    assert "at most 8 tokens" in _translated(
        400, _openai("at most 8 tokens", "context_length_exceeded")
    ).message  # fmt: skip


@pytest.mark.parametrize("status", [401, 403, 429, 500, 302])
def test_the_providers_reason_is_kept_back_elsewhere(status: int) -> None:
    assert "Psst" not in str(_translated(status, _openai("Psst")))


def test_a_content_filters_reason_is_in_the_metadata() -> None:
    error = _translated(400, _openai("Violence.", "content_filter"))
    assert error.metadata["provider_reason"] == "Violence."


def test_a_reason_is_one_short_line_without_the_key() -> None:
    error = _translated(400, _openai(f"Key {KEY}\n\nBearer sk-0123456789abcdefghij " + "x" * 999))
    assert KEY not in str(error)
    assert "sk-0123" not in str(error)
    assert "\n" not in error.message
    assert len(error.message) < 400


def test_a_key_at_the_place_of_the_cut_is_not_left_in_part() -> None:
    error = _translated(400, _openai("x" * 290 + " " + KEY))
    assert "canary" not in error.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "Wait.", "code": "rate_limit_exceeded"}, RateLimitedError),
        ({"message": "Wait.", "code": 429}, RateLimitedError),
        ({"message": "Too long.", "code": "context_length_exceeded"}, ContextTooLongError),
        ({"message": "Oops.", "code": 500}, UpstreamFailedError),
        ({"message": "Oops."}, UpstreamFailedError),
        ("Oops.", UpstreamFailedError),
    ],
)
def test_an_error_object_in_a_body_keeps_its_meaning(
    error: object, kind: type[UpstreamError]
) -> None:
    assert type(from_error_object(_connection(), "m-1", {}, error)) is kind


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"x-request-id": "req_1"}, "req_1"),
        ({"mistral-correlation-id": "c-1"}, "c-1"),
        ({"x-request-id": f"echo-{KEY}"}, ""),
        ({"x-request-id": "x" * 1000}, ""),
        ({"x-request-id": "a\tb"}, ""),
        ({}, ""),
    ],
)
def test_a_request_id_is_kept_if_it_is_one(headers: dict[str, str], request_id: str) -> None:
    assert request_id_of(_connection(), headers) == request_id
