"""What a server starts with, and what it refuses, naming the variable."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from cli.authority import Authority
from config_core.errors import ConfigurationFileError
from service_core.tls import ClientTls, ServerTls
from tests.unit.service_core.tls.certificates import Certificates, settings

CERT, KEY, CLIENT_CA = (f"CASCADA_TLS_{name}_FILE" for name in ("CERT", "KEY", "CLIENT_CA"))


def test_without_files_there_is_no_tls() -> None:
    assert ServerTls.of(settings()) is None
    assert ClientTls.of(settings()) is None


def test_a_pair_that_fits_is_taken(certificates: Certificates) -> None:
    assert ServerTls.of(settings(certificates.server(mutual=True))) is not None
    assert ClientTls.of(settings(certificates.client(shows=True))) is not None


def test_a_call_may_be_encrypted_with_the_public_authorities(certificates: Certificates) -> None:
    assert ClientTls.of(settings({"CASCADA_TLS": "1"})) is not None
    assert certificates.path("ca.pem").exists()


def _refused(certificates: Certificates, **changed: str) -> str:
    variables = {**certificates.server(mutual=True), **changed}
    with pytest.raises(ConfigurationFileError) as caught:
        ServerTls.of(settings({name: value for name, value in variables.items() if value}))
    ((variable, why),) = caught.value.problems
    assert why
    return variable


@pytest.mark.parametrize(
    ("given", "wrong"),
    [({KEY: ""}, KEY), ({CERT: ""}, CERT), ({CERT: "", KEY: ""}, CERT)],
)
def test_certificate_and_key_belong_together(
    given: dict[str, str], wrong: str, certificates: Certificates
) -> None:
    assert _refused(certificates, **given) == wrong


@pytest.mark.parametrize("variable", [CERT, KEY, CLIENT_CA])
def test_a_file_that_is_not_there_is_named(variable: str, certificates: Certificates) -> None:
    assert _refused(certificates, **{variable: "/nonexistent/file.pem"}) == variable


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _rubbish(path: Path) -> None:
    path.write_bytes(b"canary\xff\x00")


@pytest.mark.parametrize("damage", [_empty, _cut, _rubbish])
@pytest.mark.parametrize(
    ("name", "variable"),
    [("server.pem", CERT), ("server.key", KEY), ("ca.pem", CLIENT_CA)],
)
def test_a_damaged_file_is_named_without_its_content(
    damage: Callable[[Path], None], name: str, variable: str, certificates: Certificates
) -> None:
    damage(certificates.path(name))
    assert _refused(certificates) == variable


def test_a_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    other = Authority(1).issue("server", ["localhost"])
    certificates.path("server.key").write_bytes(other.key)
    assert _refused(certificates) == KEY


def test_a_key_with_a_password_is_refused(certificates: Certificates) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    content = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    certificates.path("server.key").write_bytes(content)
    assert _refused(certificates) == KEY


def test_no_key_is_in_what_is_kept_for_people(certificates: Certificates) -> None:
    tls = ServerTls.of(settings(certificates.server()))
    assert tls is not None
    assert "PRIVATE" not in repr(vars(tls))
