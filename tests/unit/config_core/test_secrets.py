"""Secrets from where the operator keeps them."""

import os
from pathlib import Path

import pytest

from config_core.configuration_file import SecretOrigin
from config_core.errors import CredentialMissingError
from config_core.secrets import (
    MAX_SECRET_BYTES,
    SETTLED_SECONDS,
    LocalSecrets,
    SecretUnavailableError,
)
from tests.unit.config_core.support import TENANT, chat, key_of, snapshot


def _put(path: Path, content: str) -> None:
    """Write a file, and let the time pass until it counts as left alone."""
    path.write_text(content)
    written = path.stat().st_mtime_ns - int(SETTLED_SECONDS * 1e9)
    os.utime(path, ns=(written, written))


def _read(secrets: LocalSecrets, path: Path) -> str:
    return secrets.read(SecretOrigin(file=str(path))).get_secret_value()


def test_a_secret_comes_from_a_variable() -> None:
    secrets = LocalSecrets({"KEY": " sk-env\n"})
    assert secrets.read(SecretOrigin(env="KEY")).get_secret_value() == "sk-env"


def test_a_secret_comes_from_a_file_and_again_when_it_has_changed(tmp_path: Path) -> None:
    path, secrets = tmp_path / "key", LocalSecrets({})
    _put(path, "sk-one\n")
    assert _read(secrets, path) == "sk-one"
    _put(path, "sk-two-longer\n")
    assert _read(secrets, path) == "sk-two-longer"


def test_a_file_of_the_same_size_that_replaces_the_old_one_is_read_again(tmp_path: Path) -> None:
    path, fresh, secrets = tmp_path / "key", tmp_path / "fresh", LocalSecrets({})
    _put(path, "sk-one")
    _put(fresh, "sk-two")
    os.utime(fresh, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert _read(secrets, path) == "sk-one"
    fresh.replace(path)
    assert _read(secrets, path) == "sk-two"


def test_a_file_that_is_being_written_leaves_the_old_secret_in_force(tmp_path: Path) -> None:
    path, secrets = tmp_path / "key", LocalSecrets({})
    _put(path, "sk-one")
    assert _read(secrets, path) == "sk-one"
    for half in ("", "sk-t"):
        path.write_text(half)
        assert _read(secrets, path) == "sk-one"
    _put(path, "sk-two")
    assert _read(secrets, path) == "sk-two"


def test_a_file_that_stays_empty_holds_no_secret(tmp_path: Path) -> None:
    path, secrets = tmp_path / "key", LocalSecrets({})
    _put(path, "sk-one")
    assert _read(secrets, path) == "sk-one"
    _put(path, "")
    with pytest.raises(SecretUnavailableError, match="empty"):
        _read(secrets, path)


def test_a_mounted_secret_is_read_again_when_its_folder_is_swapped(tmp_path: Path) -> None:
    """As Kubernetes does it: the file is a link into ..data, itself a link that is replaced."""
    for number, key in enumerate(("sk-one", "sk-two")):
        folder = tmp_path / f"..2026_{number}"
        folder.mkdir()
        _put(folder / "key", f"{key}\n")
    (tmp_path / "..data").symlink_to("..2026_0")
    (tmp_path / "key").symlink_to("..data/key")
    secrets = LocalSecrets({})
    assert _read(secrets, tmp_path / "key") == "sk-one"
    (tmp_path / "..data_tmp").symlink_to("..2026_1")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert _read(secrets, tmp_path / "key") == "sk-two"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_a_regular_file_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(SecretUnavailableError, match="not a regular file"):
        _read(LocalSecrets({}), path)


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
        _put(path, key)
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
