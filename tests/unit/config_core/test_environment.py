"""The environment: one variable a field, and errors that name it without its value."""

import pytest

from config_core.errors import ConfigurationFileError
from config_core.model_configuration import ModelConfiguration, ModelProvider
from config_core.settings import Settings, unknown_variables
from config_core.source import Source
from config_core.sources import environment
from tests.unit.config_core.support import chat, snapshot

VARIABLES = {
    "CASCADA_CHAT_MODEL": "gpt-4.1",
    "CASCADA_CHAT_PROVIDER": "OpenAI",
    "CASCADA_CHAT_API_KEY": "sk-chat",
    "CASCADA_TEMPERATURE": "0",
    "CASCADA_MAX_TOKENS": "5",
    "CASCADA_EMBEDDING_MODEL": "m",
    "CASCADA_EMBEDDING_PROVIDER": "mistral",
    "CASCADA_EMBEDDING_API_KEY": "sk-embedding",
    "CASCADA_EMBEDDING_DIMENSIONS": "8",
    "CASCADA_TIMEOUT_SECONDS": "1.5",
    "CASCADA_RETRY_ATTEMPTS": "0",
    "CASCADA_PROVIDER_CONFIGS": '{"openai": {"store": false}}',
    "CASCADA_CHAT_SECRET_REF": "s",
    "CASCADA_EMBEDDING_SECRET_REF": "s",
    "CASCADA_CHAT_ENDPOINT": "e",
    "CASCADA_EMBEDDING_ENDPOINT": "e",
    "CASCADA_TOP_P": "0.5",
    "CASCADA_FREQUENCY_PENALTY": "0",
    "CASCADA_PRESENCE_PENALTY": "-1",
    "CASCADA_SEED": "0",
    "CASCADA_STOP": "[]",
    "CASCADA_ATTEMPT_TIMEOUT_SECONDS": "1",
    "CASCADA_FIRST_TOKEN_TIMEOUT_SECONDS": "1",
    "CASCADA_STALL_TIMEOUT_SECONDS": "1",
    "CASCADA_FALLBACKS": '{"alternatives": [{"provider": "groq"}]}',
}


def test_every_field_has_one_variable() -> None:
    fields = {f"CASCADA_{name.upper()}" for name in ModelConfiguration.model_fields}
    assert set(VARIABLES) == fields
    assert environment.ConfigurationVariables.variables("CASCADA_") == fields


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_sets_its_field_and_no_other(variable: str) -> None:
    found = environment.read({variable: VARIABLES[variable]}).layer
    assert set(found.fields) == {variable.removeprefix("CASCADA_").lower()}
    assert found.source is Source.ENVIRONMENT


def test_zero_and_empty_lists_are_values() -> None:
    fields = environment.read(VARIABLES).layer.fields
    assert (fields["temperature"], fields["retry_attempts"], fields["stop"]) == (0.0, 0, ())


@pytest.mark.parametrize("variable", [*VARIABLES, "OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_an_empty_variable_is_unset(variable: str) -> None:
    found = environment.read({variable: ""})
    assert (dict(found.layer.fields), dict(found.connections)) == ({}, {})


def test_lists_are_json() -> None:
    fields = environment.read({"CASCADA_STOP": '["END", "a, b"]'}).layer.fields
    assert fields["stop"] == ("END", "a, b")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CASCADA_TEMPERATURE", "canary"),
        ("CASCADA_TEMPERATURE", "1000007"),
        ("CASCADA_STOP", "canary"),
        ("CASCADA_STOP", '{"canary": 1}'),
        ("CASCADA_CHAT_PROVIDER", "canary"),
        ("CASCADA_CHAT_API_KEY", "sk canary"),
        ("CASCADA_FALLBACKS", '{"alternatives": [{"api_key": "sk canary"}]}'),
        ("CASCADA_FALLBACKS", '{"alternatives": [{"api_key": "sk-canary}'),
        ("CASCADA_PROVIDER_CONFIGS", '["canary"]'),
        ("OPENAI_API_KEY", "sk canary"),
        ("GROQ_BASE_URL", "ftp://canary"),
        ("MISTRAL_BASE_URL", "https://user:canary@x"),
    ],
)
def test_an_error_names_the_variable_and_never_its_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationFileError) as refused:
        environment.read({variable: value})
    assert refused.value.place == "environment"
    assert refused.value.problems[0][0].startswith(variable)
    assert value not in str(refused.value)
    assert "canary" not in str(refused.value)


def test_all_wrong_variables_are_named_at_once() -> None:
    wrong = {"CASCADA_TEMPERATURE": "x", "CASCADA_SEED": "x", "OPENAI_BASE_URL": "x"}
    with pytest.raises(ConfigurationFileError) as refused:
        environment.read(wrong)
    assert {place for place, _ in refused.value.problems} == set(wrong)


def test_a_lone_key_is_refused_by_its_variable() -> None:
    with pytest.raises(ConfigurationFileError, match="CASCADA_CHAT_API_KEY") as refused:
        snapshot(None, {"CASCADA_CHAT_API_KEY": "sk-canary"})
    assert "canary" not in str(refused.value)


def test_a_providers_key_and_address_are_one_connection() -> None:
    found = environment.read({"GROQ_API_KEY": "gsk", "GROQ_BASE_URL": "http://10.0.0.1/"})
    connection = found.connections[ModelProvider.GROQ]
    assert connection.base_url == "http://10.0.0.1"
    assert connection.api_key is not None
    assert list(found.connections) == [ModelProvider.GROQ]


def test_the_environment_decides_a_connection_like_any_layer() -> None:
    environ = {"CASCADA_CHAT_PROVIDER": "groq", "GROQ_API_KEY": "gsk"}
    effective = chat(snapshot(None, environ))
    assert effective.sources["chat_provider"] is Source.ENVIRONMENT


def test_the_processs_own_environment_is_never_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TEMPERATURE", "1.5")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-process")
    monkeypatch.setenv("CASCADA_QUERY_PORT", "1")
    found = environment.read({})
    assert (dict(found.layer.fields), dict(found.connections)) == ({}, {})
    assert Settings.read({}).query_port == 50052


def test_a_variable_that_nothing_reads_is_told() -> None:
    environ = {**VARIABLES, "CASCADA_TEMPRATURE": "1", "CASCADA_QUERY_PORT": "1", "PATH": "/"}
    assert unknown_variables(environ) == ["CASCADA_TEMPRATURE"]


def test_settings_name_the_variable_that_is_wrong_without_its_value() -> None:
    with pytest.raises(ConfigurationFileError) as refused:
        Settings.read({"CASCADA_QUERY_PORT": "canary", "CASCADA_LOG_LEVEL": "canary"})
    assert {place for place, _ in refused.value.problems} == {
        "CASCADA_QUERY_PORT",
        "CASCADA_LOG_LEVEL",
    }
    assert "canary" not in str(refused.value)


def test_settings_find_the_next_service_on_this_host_unless_told_otherwise() -> None:
    assert Settings.read({}).target_of("query") == "127.0.0.1:50052"
    assert Settings.read({"CASCADA_HOST": "0.0.0.0"}).target_of("query") == "127.0.0.1:50052"  # noqa: S104  # read, not bound
    assert Settings.read({"CASCADA_QUERY_TARGET": "q:1"}).target_of("query") == "q:1"


@pytest.mark.parametrize("host", ["::1", "[::1]", " ::1 "])
def test_an_address_of_ipv6_may_stand_in_brackets(host: str) -> None:
    settings = Settings.read({"CASCADA_HOST": host})
    assert settings.host == "::1"
    assert settings.target_of("query") == "[::1]:50052"


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("CASCADA_HOST", " ", "an address or a name"),
        ("CASCADA_QUERY_TARGET", "http://query:50052", "without http://"),
        ("CASCADA_EMBEDDING_TARGET", "https://embedding:50053", "without http://"),
        ("CASCADA_QUERY_TARGET", " HTTP://query:50052", "without http://"),
        ("CASCADA_LOG_LEVEL", "verbose", "must be debug, info, warning or error"),
        ("CASCADA_LIMITS_URL", "redis://:canary@valkey:port/0", "must have a port from 0 to 65535"),
        ("CASCADA_LIMITS_URL", "redis://:canary@valkey:99999", "must have a port from 0 to 65535"),
        ("CASCADA_LIMITS_URL", "redis://[canary", "must have a port from 0 to 65535"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_what_to_write(
    variable: str, value: str, why: str
) -> None:
    with pytest.raises(ConfigurationFileError) as refused:
        Settings.read({variable: value})
    ((place, problem),) = refused.value.problems
    assert place == variable
    assert why in problem
    assert "canary" not in problem
