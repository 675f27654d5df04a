import pytest
from cascada.config.v1 import model_configuration_pb2 as pb
from cascada.config.v1 import model_provider_pb2

from cli.configuration_json import parse
from cli.exits import CommandError, ExitCode


def test_the_configuration_files_form_is_understood() -> None:
    fallbacks = '{"alternatives": [{"provider": "local"}], "fallback_on": ["content_refused"]}'
    text = f'{{"chat_provider": "Groq", "temperature": 0, "stop": [], "fallbacks": {fallbacks}}}'
    message = parse((text, True))
    assert message.chat_provider == model_provider_pb2.MODEL_PROVIDER_GROQ
    assert message.HasField("temperature")
    assert message.HasField("stop")
    assert message.fallbacks.alternatives[0].provider == model_provider_pb2.MODEL_PROVIDER_LOCAL
    assert list(message.fallbacks.fallback_on) == [pb.FALLBACK_CONDITION_CONTENT_REFUSED]


def test_grpcs_own_form_is_understood() -> None:
    message = parse(('{"chatProvider": "MODEL_PROVIDER_GROQ", "stop": {"sequences": ["a"]}}', True))
    assert message.chat_provider == model_provider_pb2.MODEL_PROVIDER_GROQ
    assert list(message.stop.sequences) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        '{"chat_api_key": "canary-1234"}',
        '{"chatApiKey": "canary-1234"}',
        '{"embedding_api_key": "canary-1234"}',
        '{"fallbacks": {"alternatives": [{"provider": "groq", "api_key": "canary-1234"}]}}',
        '{"fallbacks": {"alternatives": [{"provider": "groq", "apiKey": "canary-1234"}]}}',
    ],
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse((text, True))
    assert caught.value.exit_code is ExitCode.USAGE
    assert "canary" not in str(caught.value)


def test_a_key_from_a_file_is_taken() -> None:
    assert parse(('{"chat_api_key": "k"}', False)).chat_api_key == "k"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"temperatur": 1}', "temperatur "),
        ('{"temperature": "canary"}', "temperature "),
        ('{"chat_provider": "canary"}', "chat_provider "),
        ('{"fallbacks": {"alternatives": 5}}', "fallbacks "),
        ('{"max_tokens": 99999999999}', "max_tokens "),
    ],
)
def test_what_is_wrong_is_named_without_its_value(text: str, part: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse((text, False))
    assert part in str(caught.value)
    assert "canary" not in str(caught.value)
