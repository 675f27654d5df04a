"""Settings that are read from the files that hold them."""

from pathlib import Path

import pytest

from config_core.errors import ConfigurationFileError
from config_core.settings import Settings

URL = "postgresql://cascada:pass-0123456789@db/cascada"


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    values = {
        "CASCADA_STORE": URL,
        "CASCADA_LIMITS_URL": "redis://:pass-0123456789@redis",
        "CASCADA_FINGERPRINT_KEY": "key-0123456789",
    }
    environ = {}
    for name, value in values.items():
        environ[f"{name}_FILE"] = str(tmp_path / name)
        (tmp_path / name).write_text(f"{value}\n", encoding="utf-8")
    settings = Settings.read(environ)
    assert settings.store_url == URL
    assert settings.limits_url is not None
    assert settings.limits_url.get_secret_value() == values["CASCADA_LIMITS_URL"]
    assert settings.fingerprint_key is not None
    assert settings.fingerprint_key.get_secret_value() == values["CASCADA_FINGERPRINT_KEY"]


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError) as caught:
        Settings.read({"CASCADA_STORE_FILE": str(tmp_path / "none")})
    assert "CASCADA_STORE_FILE" in str(caught.value)


def test_what_a_file_holds_is_checked_as_a_variable_is_and_never_told(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    path.write_text("http://secret-0123456789", encoding="utf-8")
    with pytest.raises(ConfigurationFileError) as caught:
        Settings.read({"CASCADA_LIMITS_URL_FILE": str(path)})
    assert "redis://" in str(caught.value)
    assert "secret-0123456789" not in str(caught.value)


def test_a_value_and_a_file_of_it_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text(URL, encoding="utf-8")
    with pytest.raises(ConfigurationFileError, match="stands beside CASCADA_STORE_FILE"):
        Settings.read({"CASCADA_STORE": URL, "CASCADA_STORE_FILE": str(path)})
