"""What is left of a key, or of a part of one, in a provider's own words: nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from config_core.connection import Connection, Credential, Owner
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from service_core.redaction import MASK
from service_core.upstream.translate import from_response
from service_core.upstream.translate_clean import clean, is_usable

KEY = "canary-9f8e7d6c5b4a"  # of no shape that is known
RUN = 6


def _connection(key: str | None = KEY) -> Connection:
    credential = Credential(SecretStr(key), Source.REQUEST, Owner.CALLER) if key else None
    return Connection(ModelProvider.OPENAI, "house", "http://x", private=True,
                      source=Source.REQUEST, credential=credential)  # fmt: skip


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        KEY[:8],
        KEY[-6:],
        KEY[3:12],
        KEY.upper(),
        f"{KEY[:4].upper()}****",
        f"{KEY[:8]}***{KEY[-4:]}",
        f"{KEY[:3]}…{KEY[-4:]}",
        f"****{KEY[-4:]}",
        f"{KEY[:4]}****",
        f"{KEY[:4]}...{KEY[-2:]}",
        f"xxxxxxxx{KEY[-4:]}",
        f"•••••{KEY[-4:]}",
        "sk-***wxyz",
        "sk-…wxyz",
        "gsk_ab...yz",
    ],
)
def test_a_key_quoted_in_part_or_masked_is_taken_out(echo: str) -> None:
    assert clean(_connection(), f"Token ({echo}) is odd.") == f"Token ({MASK}) is odd."


def test_half_a_character_is_marked() -> None:
    assert clean(_connection(), "odd: \ud83d!") == "odd: \ufffd!"


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_part_of_a_key_is_nowhere_in_the_error(status: int) -> None:
    message = f"No: {KEY[:8]} … {KEY[-8:]}, ca…{KEY[-4:]}"
    body = json.dumps({"error": {"message": message, "code": "content_filter"}}).encode()
    error = from_response(_connection(), "m-1", status, {}, body)
    for part in (KEY[:8], KEY[-8:], KEY[-4:]):
        assert part not in f"{error} {error.message} {error.metadata}"


@pytest.mark.parametrize(
    "text",
    [
        "Wait... the model *some-model* has no can-do; see canal 9f8e7.",
        "temperature must be 0...2, **not** 3",
        "exxxxtra",
        "…",
    ],
)
def test_words_that_have_nothing_of_the_key_stay(text: str) -> None:
    assert clean(_connection(), text) == text


def test_without_a_key_text_stays_but_for_what_is_masked_like_one() -> None:
    assert clean(_connection(None), "Odd ...4b5a and sk-***wxyz") == f"Odd ...4b5a and {MASK}"


def test_a_beginning_that_is_common_to_keys_does_not_save_the_rest_of_another() -> None:
    mine, other = "sk-proj-0123456789abcdefghij", "sk-proj-ZYXWVUTSRQ9876543210"
    assert clean(_connection(mine), f"Not {other}, but {mine}.") == f"Not {MASK}, but {MASK}."


def test_a_name_with_a_part_of_the_key_is_not_fit_for_traces() -> None:
    assert is_usable(_connection(), "gpt-4.1-mini")
    assert not is_usable(_connection(), f"model-{KEY[4:11]}")


@given(
    st.text(st.sampled_from("ab-*."), min_size=RUN, max_size=30),
    st.text(st.sampled_from("ab-*. "), max_size=80),
)
def test_no_run_of_the_key_is_left_whatever_the_text(key: str, text: str) -> None:
    left = clean(_connection(key), text, limit=10_000).split(MASK)
    assert not any(
        key[at : at + RUN] in piece for piece in left for at in range(len(key) - RUN + 1)
    )


def test_a_text_that_hides_much_does_not_take_long() -> None:
    assert clean(_connection(), "axxxx" * 100_000).startswith("axxxxaxxxx")


def test_a_long_text_is_cut_without_leaving_a_part_of_the_key() -> None:
    text = clean(_connection(), (KEY + " ") * 100_000)
    assert len(text) <= 300
    assert set(text) <= set(f" …{MASK}")
