import json

import pytest

from cli.client import connect, default_target
from cli.exits import CommandError, ExitCode
from cli.output import Output
from config_core.settings import Settings
from tests.unit.cli.fake_services import CommandLine

# Port 1 is reserved, and nobody listens there.
NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("service", "target"),
    [
        ("agent-execution", "127.0.0.1:50051"),
        ("query", "127.0.0.1:50052"),
        ("embedding", "127.0.0.1:50053"),
    ],
)
def test_the_default_targets_are_the_default_ports(service: str, target: str) -> None:
    assert default_target(Settings(), service) == target


def test_agent_execution_is_not_where_the_query_target_points() -> None:
    settings = Settings(query_target="elsewhere:9", agent_execution_port=5)
    assert default_target(settings, "agent-execution") == "127.0.0.1:5"


def test_a_target_that_nobody_serves_has_its_own_exit_code(cascada: CommandLine) -> None:
    result = cascada.bare("ask", "q", "--target", NOBODY, "--json")
    assert result.exit_code == ExitCode.UNREACHABLE
    assert NOBODY in json.loads(result.stdout)["error"]["message"]


async def test_the_environments_target_is_as_binding_as_the_option() -> None:
    with pytest.raises(CommandError) as caught:
        async with connect("query", None, Output(), environ={"CASCADA_QUERY_TARGET": NOBODY}):
            pass
    assert caught.value.exit_code is ExitCode.UNREACHABLE


def test_a_key_never_leaves_unencrypted_for_another_machine(
    cascada: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "canary")
    arguments = ("--provider", "groq", "--chat-api-key-env", "MINE", "--target", "192.0.2.1:1")
    result = cascada.bare("ask", "q", *arguments)
    assert result.exit_code == ExitCode.REFUSED
    assert "canary" not in result.output


def test_a_wrong_environment_is_a_usage_error(
    cascada: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_QUERY_PORT", "many")
    result = cascada("ask", "q")
    assert result.exit_code == ExitCode.USAGE
    assert "CASCADA_QUERY_PORT" in result.stderr
