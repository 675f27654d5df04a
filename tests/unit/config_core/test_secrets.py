"""Secrets from where the operator keeps them."""

import os
from pathlib import Path

import pytest

from config_core.configuration_file import SecretOrigin
from config_core.errors import CredentialMissingError
from config_core.secrets import MAX_SECRET_BYTES, LocalSecrets, SecretUnavailableError
from tests.unit.config_core.support import TENANT, chat, key_of, snapshot


def _read(secrets: LocalSecrets, path: Path) -> str:
    return secrets.read(SecretOrigin(file=str(path))).get_secret_value()


def test_a_secret_comes_from_a_variable() -> None:
    secrets = LocalSecrets({"KEY": " sk-env\n"})
    assert secrets.read(SecretOrigin(env="KEY")).get_secret_value() == "sk-env"


def test_a_secret_comes_from_a_file_and_again_when_it_has_changed(tmp_path: Path) -> None:
    path, secrets = tmp_path / "key", LocalSecrets({})
    path.write_text("sk-one\n")
    assert _read(secrets, path) == "sk-one"
    path.write_text("sk-two-longer\n")
    assert _read(secrets, path) == "sk-two-longer"


def test_a_file_of_the_same_size_that_replaces_the_old_one_is_read_again(tmp_path: Path) -> None:
    path, fresh, secrets = tmp_path / "key", tmp_path / "fresh", LocalSecrets({})
    path.write_text("sk-one")
    fresh.write_text("sk-two")
    os.utime(fresh, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert _read(secrets, path) == "sk-one"
    fresh.replace(path)
    assert _read(secrets, path) == "sk-two"


def test_a_file_that_goes_away_takes_its_secret_along(tmp_path: Path) -> None:
    path, secrets = tmp_path / "key", LocalSecrets({})
    path.write_text("sk-one")
    assert _read(secrets, path) == "sk-one"
    path.unlink()
    with pytest.raises(SecretUnavailableError):
        _read(secrets, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"sk canary",
        b"sk-canary\nsecond",
        b"sk-canary\xff",
        b"c" * (MAX_SECRET_BYTES + 1),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SecretUnavailableError) as refused:
        _read(LocalSecrets({}), path)
    assert "canary" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_an_unset_or_unusable_variable_is_named_without_its_value() -> None:
    for environ in ({}, {"KEY": ""}, {"KEY": "sk canary"}):
        with pytest.raises(SecretUnavailableError, match="KEY") as refused:
            LocalSecrets(environ).read(SecretOrigin(env="KEY"))
        assert "canary" not in str(refused.value)


def test_a_rotated_file_reaches_the_next_request_without_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "key"
    origin = {"from": {"file": str(path)}}
    service = snapshot({"tenants": {TENANT: {"credentials": {"openai": origin}}}})
    for key in ("sk-one", "sk-second"):
        path.write_text(key)
        assert key_of(chat(service, {"chat_provider": "openai"}).primary.connection) == key


@pytest.mark.parametrize(
    "profile",
    [
        {"credentials": {"openai": {"from": {"env": "GONE"}}}},
        {"credentials": {"openai": {"secret_ref": "own"}}},
        {"model_configuration": {"chat_provider": "openai", "chat_secret_ref": "own"}},
        {},
    ],
    ids=["from", "credential by reference", "profile by reference", "registered for it alone"],
)
def test_a_tenants_unreadable_credential_is_never_passed_over_for_the_operators(
    profile: dict[str, object],
) -> None:
    document = {
        "defaults": {"embedding_provider": "openai", "embedding_api_key": "sk-file"},
        "tenants": {TENANT: profile},
        "secrets": {
            "shared": {"provider": "openai", "tenants": ["*"], "from": {"env": "SHARED"}},
            "own": {"provider": "openai", "tenants": [TENANT], "from": {"env": "GONE"}},
        },
    }
    service = snapshot(document, {"OPENAI_API_KEY": "sk-env", "SHARED": "sk-shared"})
    target = chat(service, {"chat_provider": "openai"}).primary
    assert key_of(target.connection) is None
    assert isinstance(target.problem, CredentialMissingError)
    assert key_of(chat(service, {"chat_provider": "openai"}, tenant="other").primary.connection)
