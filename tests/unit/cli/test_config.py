import json

from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1 import configuration_source_pb2, effective_configuration_pb2

from tests.unit.cli.fake_services import CommandLine


def _resolved() -> pb.ResolveConfigurationResponse:
    resolved = pb.ResolveConfigurationResponse()
    operation = resolved.operations.add(operation=effective_configuration_pb2.OPERATION_CHAT)
    operation.effective.values.temperature = 0.5
    sources = operation.effective.sources
    sources["temperature"] = configuration_source_pb2.CONFIGURATION_SOURCE_PREFERENCE
    return resolved


def test_a_configuration_is_explained_value_by_value(cascada: CommandLine) -> None:
    cascada.fake.resolved = _resolved()
    result = cascada("config", "explain", "--temperature", "0.5", "--operation", "chat")
    assert result.exit_code == 0
    assert "chat at agent-execution" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("temperature"))
    assert row.split() == ["temperature", "0.5", "PREFERENCE"]
    request = cascada.fake.requests[0]
    assert request.operation == effective_configuration_pb2.OPERATION_CHAT
    assert request.model_preferences.temperature == 0.5


def test_violations_are_listed_and_change_the_exit_code(cascada: CommandLine) -> None:
    cascada.fake.resolved.violations.add(
        field="model_preferences.temperature",
        description="must be less",
        reason=error_reason_pb2.ERROR_REASON_INVALID_CONFIGURATION,
    )
    result = cascada("config", "explain", "--temperature", "9")
    assert result.exit_code == 1
    assert "model_preferences.temperature: must be less (INVALID_CONFIGURATION)" in result.stdout


def test_collections_are_asked_of_the_query_service(cascada: CommandLine) -> None:
    cascada.fake.resolved = _resolved()
    assert "chat at query" in cascada("config", "explain", "-c", "c").stdout


def test_the_schema_needs_no_server(cascada: CommandLine) -> None:
    result = cascada.bare("config", "schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert {"defaults", "tenants", "endpoints", "secrets", "policy"} <= set(schema["properties"])


def test_capabilities_are_listed(cascada: CommandLine) -> None:
    row = cascada.fake.capabilities.providers.add(
        provider="MODEL_PROVIDER_GROQ",
        operations=["OPERATION_CHAT"],
        default_chat_model="m",
        credential=pb.CONFIGURATION_CREDENTIAL_NOT_NEEDED,
    )
    row.embedding_models.add(model="e", dimensions=3, settable_dimensions=True)
    result = cascada("capabilities")
    assert "not needed" in result.stdout
    assert "3 or fewer" in result.stdout
