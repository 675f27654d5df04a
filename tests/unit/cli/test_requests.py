from pathlib import Path

import pytest
from cascada.config.v1 import model_provider_pb2

from cli import requests
from cli.exits import CommandError, ExitCode
from cli.requests import ModelOptions
from cli.retrieval import SearchOptions, retrieval


def test_chat_choices_are_preferences() -> None:
    chosen = requests.models(
        chat=ModelOptions(provider="groq", model="m", temperature=0.0, max_tokens=7)
    )
    assert chosen.preferences is not None
    assert chosen.preferences.provider == "groq"
    assert chosen.preferences.model == "m"
    assert chosen.preferences.HasField("temperature")
    assert chosen.preferences.max_tokens == 7
    assert not chosen.configuration.ListFields()


def test_a_request_that_takes_no_preferences_has_them_in_its_configuration() -> None:
    chosen = requests.models(
        chat=ModelOptions(provider="groq", model="m", temperature=0.0), preferring=False
    )
    assert chosen.preferences is None
    assert chosen.configuration.chat_provider == model_provider_pb2.MODEL_PROVIDER_GROQ
    assert chosen.configuration.chat_model == "m"
    assert chosen.configuration.HasField("temperature")


def test_without_choices_there_are_no_preferences() -> None:
    assert requests.models().preferences is None


def test_a_key_stands_in_one_layer_with_its_provider_and_model() -> None:
    chosen = requests.models(chat=ModelOptions(provider="Groq", model="m", key="canary"))
    assert chosen.preferences is None
    assert chosen.configuration.chat_provider == model_provider_pb2.MODEL_PROVIDER_GROQ
    assert chosen.configuration.chat_model == "m"
    assert chosen.configuration.chat_api_key == "canary"
    assert chosen.carries_key


def test_options_never_show_their_key() -> None:
    assert "canary" not in repr(ModelOptions(provider="groq", key="canary"))


@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_a_key_without_provider_or_endpoint_is_refused(kind: str) -> None:
    lone = {kind: ModelOptions(model="m", key="k")}
    with pytest.raises(CommandError, match="whose"):
        requests.models(
            chat=lone.get("chat", ModelOptions()), embedding=lone.get("embedding", ModelOptions())
        )


def test_an_option_never_takes_the_jsons_connection_apart(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"chat_endpoint": "openais", "chat_api_key": "canary"}', encoding="utf-8")
    with pytest.raises(CommandError) as caught:
        requests.models(chat=ModelOptions(provider="groq"), config_json=f"@{file}")
    assert caught.value.exit_code is ExitCode.USAGE
    assert "canary" not in str(caught.value)


def test_a_value_given_twice_is_refused() -> None:
    with pytest.raises(CommandError, match="temperature"):
        requests.models(chat=ModelOptions(temperature=1), config_json='{"temperature": 0}')


def test_options_and_json_on_different_things_go_together() -> None:
    chosen = requests.models(
        chat=ModelOptions(temperature=1), timeout=5, config_json='{"chat_model": "m"}'
    )
    assert chosen.preferences is not None
    assert chosen.preferences.temperature == 1
    assert chosen.configuration.chat_model == "m"
    assert chosen.configuration.timeout_seconds == 5


def test_a_key_in_a_fallback_counts_as_a_key(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    text = '{"fallbacks": {"alternatives": [{"provider": "groq", "api_key": "k"}]}}'
    file.write_text(text, encoding="utf-8")
    assert requests.models(config_json=f"@{file}").carries_key


def test_a_json_file_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(CommandError) as caught:
        requests.models(config_json="@/nowhere/at/all")
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_number_beyond_the_wires_range_is_a_usage_error() -> None:
    with pytest.raises(CommandError, match="out of range"):
        requests.models(chat=ModelOptions(max_tokens=2**40))


def test_an_unknown_embedding_provider_is_a_usage_error() -> None:
    with pytest.raises(CommandError, match="openai, groq"):
        requests.models(embedding=ModelOptions(provider="unspecified"))


def test_a_key_is_read_from_its_variable() -> None:
    assert requests.key_of("--x", "MINE", {"MINE": " k\n"}) == "k"


def test_a_key_given_in_place_of_a_variables_name_is_not_repeated() -> None:
    with pytest.raises(CommandError) as caught:
        requests.key_of("--chat-api-key-env", "sk-canary", {})
    assert caught.value.exit_code is ExitCode.CREDENTIAL
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("system", [None, "", "Be brief."])
def test_the_streamed_request_is_the_same_request(system: str | None) -> None:
    chosen = requests.models(chat=ModelOptions(temperature=0))
    passages = retrieval(["c"], SearchOptions(top_k=1))
    request = requests.execution("q", "t", chosen, passages, system)
    assert request.HasField("system_prompt") == (system is not None)
    assert requests.streamed(request).SerializeToString() == request.SerializeToString()
