import hashlib

import pytest

from service_core.identity.tokens import PREFIX, bearer_of, digest_of, find, new_token
from service_core.redaction import scrub


def test_a_token_has_256_random_bits_and_is_known_for_one() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith(PREFIX) and len(token) == len(PREFIX) + 43 for token in tokens)


def test_a_token_in_a_text_is_masked() -> None:
    token = new_token()
    assert token not in scrub(f"who sent {token}?")


def test_what_is_kept_is_its_sha256() -> None:
    assert digest_of("cascada_x") == hashlib.sha256(b"cascada_x").hexdigest()


def test_a_digest_is_found_by_its_name_wherever_it_stands() -> None:
    known = {name: digest_of(name) for name in ("a", "b", "c")}
    assert [find(digest_of(name), known) for name in known] == ["a", "b", "c"]
    assert find(digest_of("d"), known) is None
    assert find(digest_of("a"), {}) is None


@pytest.mark.parametrize("value", ["Bearer t", "bearer t", "BEARER t", "Bearer  t "])
def test_a_bearer_token_is_taken_in_any_case(value: str) -> None:
    assert bearer_of([("x", "y"), ("authorization", value)]) == "t"


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Basic dTpw")],
        [("authorization", "t")],
        [("authorization", "")],
        [("authorization", b"Bearer t")],
        [("authorization", "Bearer t"), ("authorization", "Bearer t")],
    ],
)
def test_any_other_form_is_a_token_that_nobody_has(
    metadata: list[tuple[str, str | bytes]],
) -> None:
    assert bearer_of(metadata) == ""


def test_without_the_header_there_is_no_token() -> None:
    assert bearer_of([("x-authorization", "Bearer t")]) is None
