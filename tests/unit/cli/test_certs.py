"""Certificates for development: who vouches for what, and nothing is overwritten."""

import json
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cli.authority import TRUST_DOMAIN
from cli.certs import CLIENT, SERVICES
from cli.exits import ExitCode
from service_core.tls import ClientTls, ServerTls
from tests.unit.cli.fake_services import CommandLine
from tests.unit.service_core.tls.certificates import settings

NAMES = ("ca", *SERVICES, CLIENT)


@pytest.fixture
def made(tmp_path: Path, cascada: CommandLine) -> Path:
    folder = tmp_path / "new" / "certs"
    result = cascada.bare("certs", str(folder), "--host", "cascada.example", "--host", "192.0.2.7")
    assert result.exit_code == ExitCode.OK, result.output
    return folder


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def names(found: x509.Certificate) -> set[str]:
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def test_each_has_a_certificate_and_a_key_that_only_its_owner_reads(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        f"{name}.{suffix}" for name in NAMES for suffix in ("pem", "key")
    }
    assert {stat.S_IMODE((made / f"{name}.key").stat().st_mode) for name in NAMES} == {0o600}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", [*SERVICES, CLIENT])
def test_the_authority_vouches_for_it_for_as_long_as_was_asked_and_it_for_nobody(
    name: str, made: Path
) -> None:
    authority, found = certificate(made, "ca"), certificate(made, name)
    found.verify_directly_issued_by(authority)
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 365
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not basic.value.ca


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_reached_by_its_name_this_machine_and_what_was_given(
    name: str, made: Path
) -> None:
    hosts = {name, "localhost", "127.0.0.1", "::1", "cascada.example", "192.0.2.7"}
    assert names(certificate(made, name)) == {*hosts, TRUST_DOMAIN + name}


def test_a_client_is_no_server(made: Path) -> None:
    found = certificate(made, CLIENT)
    assert names(found) == {TRUST_DOMAIN + CLIENT}
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_variables_that_it_tells_make_a_service_start(
    tmp_path: Path, cascada: CommandLine
) -> None:
    result = cascada.bare("certs", str(tmp_path / "c"), "--json")
    variables = json.loads(result.stdout)["variables"]
    assert set(variables) == set(SERVICES)
    for each in variables.values():
        assert ServerTls.of(settings(each)) is not None
        assert ClientTls.of(settings(each)) is not None


def test_people_are_told_the_same_variables(made: Path, cascada: CommandLine) -> None:
    other = made.parent / "other"
    printed = cascada.bare("certs", str(other)).stdout
    for line in (
        f"export CASCADA_TLS_CERT_FILE={other / 'query.pem'}",
        f"export CASCADA_TLS_KEY_FILE={other / 'query.key'}",
        f"export CASCADA_TLS_CA_FILE={other / 'ca.pem'}",
        f"export CASCADA_TLS_CLIENT_CA_FILE={other / 'ca.pem'}",
    ):
        assert line in printed
    assert "PRIVATE KEY" not in printed


@pytest.mark.parametrize("there", ["ca.key", "client.pem"])
def test_nothing_is_overwritten(there: str, tmp_path: Path, cascada: CommandLine) -> None:
    (tmp_path / there).write_text("mine")
    result = cascada.bare("certs", str(tmp_path))
    assert result.exit_code == ExitCode.USAGE
    assert str(tmp_path / there) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_host_that_is_none_is_refused_before_anything_is_written(
    tmp_path: Path, cascada: CommandLine
) -> None:
    result = cascada.bare("certs", str(tmp_path / "c"), "--host", "señal.example")
    assert result.exit_code == ExitCode.USAGE
    assert not (tmp_path / "c").exists()


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path, cascada: CommandLine) -> None:
    (tmp_path / "file").write_text("")
    assert cascada.bare("certs", str(tmp_path / "file" / "c")).exit_code == ExitCode.FAILED


def test_pythons_own_tls_takes_them(made: Path) -> None:
    ssl.create_default_context(cafile=made / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for name in NAMES:
        context.load_cert_chain(made / f"{name}.pem", made / f"{name}.key")


@pytest.mark.parametrize("host", ["", "two words", "a,b", "http://a"])
def test_what_is_no_host_is_refused(host: str, tmp_path: Path, cascada: CommandLine) -> None:
    result = cascada.bare("certs", str(tmp_path / "new"), "--host", host)
    assert result.exit_code == ExitCode.USAGE
    assert "is no name or address" in result.stderr
    assert not (tmp_path / "new").exists()
