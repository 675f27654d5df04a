"""Making a token, and what of it the configuration file gets."""

import json

import pytest

from cli.exits import ExitCode
from config_core.file_reader import parse
from config_core.identity import Role
from service_core.identity.tokens import digest_of
from tests.unit.cli.fake_services import CommandLine


def test_the_token_goes_to_its_owner_and_its_hash_into_the_file(cascada: CommandLine) -> None:
    result = cascada.bare("token", "new", "--name", "web", "--tenant", "acme", "--json")
    made = json.loads(result.stdout)
    rules = parse(made["configuration"], "test").identity
    assert rules is not None
    entry = rules.tokens["web"]
    assert entry.sha256 == digest_of(made["token"])
    assert (entry.tenant, entry.roles) == ("acme", (Role.CALLER,))
    assert made["token"] not in str(made["configuration"])


def test_people_get_the_token_alone_on_standard_output(cascada: CommandLine) -> None:
    result = cascada.bare("token", "new", "--role", "caller", "--role", "indexer")
    token = result.stdout.strip()
    assert digest_of(token) in result.stderr
    assert token not in result.stderr
    assert "indexer" in result.stderr


def test_a_service_needs_no_tenant(cascada: CommandLine) -> None:
    result = cascada.bare("token", "new", "--role", "service", "--tenant", "", "--json")
    rules = parse(json.loads(result.stdout)["configuration"], "test").identity
    assert rules is not None
    assert rules.tokens["NAME"].tenant is None


def test_no_two_are_the_same(cascada: CommandLine) -> None:
    assert cascada.bare("token", "new").stdout != cascada.bare("token", "new").stdout


@pytest.mark.parametrize(
    "wrong", [["--tenant", ""], ["--name", "two words"], ["--tenant", "t" * 129]]
)
def test_what_the_configuration_file_would_refuse_is_not_made(
    wrong: list[str], cascada: CommandLine
) -> None:
    result = cascada.bare("token", "new", *wrong)
    assert result.exit_code == ExitCode.USAGE
    assert "The configuration file would refuse the token" in result.stderr
    assert result.stdout == ""
