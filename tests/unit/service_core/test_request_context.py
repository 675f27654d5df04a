from types import SimpleNamespace
from typing import Any

import pytest
from cascada.common.v1 import request_context_pb2
from cascada.config.v1 import model_configuration_pb2, provenance_pb2

from config_core.errors import InvalidArgumentError, PermissionDeniedError, Reason, Violation
from config_core.identity import Role
from service_core.identity import Caller, acting
from service_core.record import recording
from service_core.request_context import (
    Peers,
    RequestContext,
    context_of,
    invalid,
    read_context,
    refuse_if,
)

Message = request_context_pb2.RequestContext
Wire = model_configuration_pb2.ModelConfiguration

LOOPBACK = ("ipv4:127.0.0.1:40000", "ipv6:%5B::1%5D:40000", "unix:", "unix:/run/cascada")
ELSEWHERE = ("ipv4:192.0.2.1:40000", "ipv6:%5B2001:db8::1%5D:40000", "", "nonsense")


def from_peer(peer: str) -> Any:
    """A call that comes from there."""
    return SimpleNamespace(peer=lambda: peer)


def read(message: Message) -> tuple[RequestContext, list[Violation]]:
    violations: list[Violation] = []
    return read_context(message, violations), violations


def test_an_empty_tenant_is_the_default_one() -> None:
    assert read(Message())[0].tenant_id == "default"


def test_a_request_without_a_trace_id_gets_one_of_its_own() -> None:
    first, second = read(Message())[0].trace_id, read(Message())[0].trace_id
    assert len(first) == 32
    assert first != second


def test_what_is_given_is_kept_and_goes_to_the_next_hop_as_it_came() -> None:
    message = Message(tenant_id="acme", session_id="s", task_id="t", trace_id="r")
    context, violations = read(message)
    assert context.to_wire() == message
    assert violations == []


LIMITS = {"tenant_id": 128, "session_id": 256, "task_id": 256, "trace_id": 256}


@pytest.mark.parametrize("name", LIMITS)
def test_a_field_has_a_longest_length(name: str) -> None:
    limit = LIMITS[name]
    assert read(Message(**{name: "x" * limit}))[1] == []
    (violation,) = read(Message(**{name: "x" * (limit + 1)}))[1]
    assert violation.field == f"context.{name}"
    assert str(limit) in violation.description


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "\x1b[31m", "a\u2028b"])
def test_a_field_holds_nothing_that_would_break_a_line_of_a_log(name: str, text: str) -> None:
    (violation,) = read(Message(**{name: text}))[1]
    assert violation.field == f"context.{name}"
    assert text not in violation.description


def test_every_field_of_the_message_is_checked() -> None:
    assert {field.name for field in Message.DESCRIPTOR.fields} == set(LIMITS)


def test_all_that_is_wrong_is_named_at_once() -> None:
    violations = read(Message(tenant_id="x" * 999, trace_id="\n"))[1]
    assert [entry.field for entry in violations] == ["context.tenant_id", "context.trace_id"]


def test_nothing_wrong_raises_nothing() -> None:
    refuse_if([])


def test_what_is_wrong_is_an_invalid_argument() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        refuse_if([invalid("texts", "must be 1"), invalid("kind", "is unknown")])
    assert caught.value.code_reason is Reason.INVALID_ARGUMENT
    assert [entry.field for entry in caught.value.violations] == ["texts", "kind"]


@pytest.mark.parametrize("peer", LOOPBACK)
def test_provenance_is_honoured_from_this_host(peer: str) -> None:
    assert Peers().trusts(from_peer(peer))


@pytest.mark.parametrize("peer", ELSEWHERE)
@pytest.mark.parametrize("peers", [Peers(), Peers(encrypted=True), Peers(allow_insecure=True)])
def test_provenance_is_not_honoured_from_elsewhere_whatever_the_connection(
    peer: str, peers: Peers
) -> None:
    assert not peers.trusts(from_peer(peer))


WITH_KEYS = {
    "chat": Wire(chat_api_key="canary"),
    "embedding": Wire(embedding_api_key="canary"),
    "empty": Wire(chat_api_key=""),
    "alternative": Wire(
        fallbacks=model_configuration_pb2.Fallbacks(
            alternatives=[
                model_configuration_pb2.Fallback(),
                model_configuration_pb2.Fallback(api_key="canary"),
            ]
        )
    ),
}
FORWARDED = provenance_pb2.Provenance(
    connections=[provenance_pb2.ForwardedConnection(api_key="canary")]
)


@pytest.mark.parametrize("place", WITH_KEYS)
@pytest.mark.parametrize("peer", ELSEWHERE)
def test_a_raw_key_does_not_enter_unencrypted_from_elsewhere(place: str, peer: str) -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        Peers().check_keys(WITH_KEYS[place], None, from_peer(peer))
    assert "canary" not in str(caught.value)


def test_a_forwarded_connection_does_not_enter_unencrypted_from_elsewhere() -> None:
    with pytest.raises(PermissionDeniedError):
        Peers().check_keys(Wire(), FORWARDED, from_peer(ELSEWHERE[0]))


def test_every_field_that_holds_a_key_is_one_that_is_checked() -> None:
    redacted = {
        f"{message.DESCRIPTOR.name}.{field.name}"
        for message in (Wire, model_configuration_pb2.Fallback)
        for field in message.DESCRIPTOR.fields
        if field.GetOptions().debug_redact
    }
    assert redacted == {
        "ModelConfiguration.chat_api_key",
        "ModelConfiguration.embedding_api_key",
        "Fallback.api_key",
    }


@pytest.mark.parametrize("place", WITH_KEYS)
@pytest.mark.parametrize("peer", LOOPBACK)
def test_a_raw_key_enters_from_this_host(place: str, peer: str) -> None:
    Peers().check_keys(WITH_KEYS[place], FORWARDED, from_peer(peer))


@pytest.mark.parametrize("peers", [Peers(encrypted=True), Peers(allow_insecure=True)])
def test_a_raw_key_enters_over_tls_or_where_the_operator_says_so(peers: Peers) -> None:
    peers.check_keys(WITH_KEYS["chat"], FORWARDED, from_peer(ELSEWHERE[0]))


def test_without_a_key_anyone_may_enter() -> None:
    request = Wire(chat_secret_ref="registered", temperature=0.5)
    Peers().check_keys(request, provenance_pb2.Provenance(), from_peer(ELSEWHERE[0]))


def test_the_context_is_noted_for_the_log_with_what_was_filled_in() -> None:
    with recording() as record:
        context = read_context(request_context_pb2.RequestContext(), [])
    assert (record.tenant, record.trace_id) == ("default", context.trace_id)


# --- with identity on ----------------------------------------------------------------------------

WEB = Caller("token web", "acme", frozenset({Role.CALLER}))
HOP = Caller("token hop", None, frozenset({Role.SERVICE}))


def test_an_empty_tenant_is_that_of_whoever_calls() -> None:
    with acting(WEB):
        assert read(Message())[0].tenant_id == "acme"
        assert read(Message(tenant_id="acme"))[0].tenant_id == "acme"
    assert read(Message())[0].tenant_id == "default"


def test_another_tenant_than_that_of_whoever_calls_is_denied() -> None:
    with acting(WEB), pytest.raises(PermissionDeniedError):
        read(Message(tenant_id="globex"))


def test_a_service_names_the_tenant() -> None:
    with acting(HOP):
        assert read(Message(tenant_id="globex"))[0].tenant_id == "globex"
        assert read(Message())[0].tenant_id == "default"


@pytest.mark.parametrize("peer", [*LOOPBACK, *ELSEWHERE])
def test_provenance_is_honoured_from_a_service_wherever_it_is_and_from_nobody_else(
    peer: str,
) -> None:
    with acting(HOP):
        assert Peers().trusts(from_peer(peer))
    with acting(WEB):
        assert not Peers().trusts(from_peer(peer))


def test_what_is_no_request_has_no_context() -> None:
    assert context_of(None) is None
    assert context_of(Message()) is None
