import pytest
from cascada.config.v1 import configuration_source_pb2 as source
from cascada.config.v1 import configuration_trace_pb2 as pb
from cascada.config.v1 import model_configuration_pb2, model_provider_pb2
from cascada.config.v1.effective_configuration_pb2 import OPERATION_EMBEDDING
from google.protobuf.json_format import ParseDict

from cli.output import Output
from cli.trace import settings, show_trace

VALUES = {
    "chat_provider": "MODEL_PROVIDER_GROQ",
    "chat_model": "m",
    "temperature": 0,
    "max_tokens": 7,
    "timeout_seconds": 1.5,
    "retry_attempts": 0,
    "embedding_model": "e",
    "embedding_provider": "MODEL_PROVIDER_LOCAL",
    "embedding_dimensions": 3,
    "provider_configs": {"groq": {"user": "u"}},
    "chat_secret_ref": "s",
    "embedding_secret_ref": "s2",
    "chat_endpoint": "here",
    "embedding_endpoint": "there",
    "top_p": 0.5,
    "frequency_penalty": 1,
    "presence_penalty": 1,
    "seed": 9,
    "stop": {"sequences": ["\n"]},
    "attempt_timeout_seconds": 1,
    "first_token_timeout_seconds": 1,
    "stall_timeout_seconds": 1,
    "fallbacks": {"alternatives": [{"provider": "MODEL_PROVIDER_OPENAI", "model": "f"}]},
}
SECRETS = {"chat_api_key", "embedding_api_key"}


def _hop() -> pb.HopReport:
    hop = ParseDict({"service": "query", "operation": "OPERATION_CHAT"}, pb.HopReport())
    ParseDict(VALUES, hop.effective.values)
    for name in VALUES:
        key = "provider_configs.groq.user" if name == "provider_configs" else name
        hop.effective.sources[key] = source.CONFIGURATION_SOURCE_TENANT
    return hop


def test_the_sample_has_every_field_that_a_trace_can_show() -> None:
    fields = model_configuration_pb2.ModelConfiguration.DESCRIPTOR.fields_by_name
    assert set(VALUES) == set(fields) - SECRETS


def test_every_field_is_shown_with_its_value_and_source() -> None:
    rows = {name: (value, layer) for name, value, layer in settings(_hop().effective)}
    assert all(value and layer == "TENANT" for value, layer in rows.values())
    assert rows["chat_provider"][0] == "groq"
    assert rows["temperature"][0] == "0"
    assert rows["stop"][0] == "'\\n'"
    assert rows["fallbacks"][0] == "openai/f"
    assert rows["provider_configs.groq.user"][0] == "u"


def test_an_unknown_source_of_a_newer_service_is_shown() -> None:
    hop = pb.HopReport()
    hop.effective.values.temperature = 1
    hop.effective.sources["temperature"] = 99  # type: ignore[assignment]
    assert list(settings(hop.effective)) == [("temperature", "1", "UNKNOWN 99")]


def test_the_trace_tells_hop_model_dropped_options_and_attempts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hop = _hop()
    hop.effective.requested_model = "m"
    hop.effective.resolved_model = "m-2026"
    hop.effective.dropped.add(
        field="seed", source=source.CONFIGURATION_SOURCE_FILE, reason="not taken"
    )
    hop.attempts.add(
        provider=model_provider_pb2.MODEL_PROVIDER_GROQ,
        model="m",
        outcome=pb.ATTEMPT_OUTCOME_FAILED,
        detail="It is down.",
    )
    hop.attempts[0].wait.FromMilliseconds(250)
    show_trace(Output(), pb.ConfigurationTrace(hops=[hop]))
    text = capsys.readouterr().out
    assert "query · chat · groq at here/m → m-2026" in text
    assert "dropped seed (FILE): not taken" in text
    assert "attempt 1: groq/m failed after 0.00 s, 0.25 s waited: It is down." in text


def test_a_chat_that_orders_passages_is_told_from_the_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ranking = _hop()
    ranking.collections.extend(["a", "b"])
    searching = _hop()
    searching.operation = OPERATION_EMBEDDING
    searching.collections.append("c")
    show_trace(Output(), pb.ConfigurationTrace(hops=[searching, ranking, _hop()]))
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("query ·")]
    ends = [title.split(" s")[1] for title in titles]
    assert ends == [" · for c", " · orders passages of a, b", ""]
