"""What a server needs before it listens beyond its own machine."""

from typing import Any

import pytest

from config_core.errors import ConfigurationFileError
from config_core.file_reader import parse
from config_core.identity import IdentityRules
from config_core.settings import Settings
from service_core.identity.startup import check, is_exposed

TLS = {"CASCADA_TLS_CERT_FILE": "/c.pem", "CASCADA_TLS_KEY_FILE": "/c.key"}
TOKENS = {"tokens": {"web": {"sha256": "a" * 64, "tenant": "acme", "roles": ["caller"]}}}
CERTIFICATES = {"certificates": {"web": {"dns": "x", "tenant": "acme", "roles": ["caller"]}}}


def settings(host: str, **environ: str) -> Settings:
    return Settings.read({"CASCADA_HOST": host, **environ})


def rules(identity: Any) -> IdentityRules | None:
    return parse({"identity": identity}, "test").identity


def missing(found: Settings, identity: Any = None) -> str:
    with pytest.raises(ConfigurationFileError) as caught:
        check(found, rules(identity))
    return str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_a_server_for_this_machine_alone_needs_nothing(host: str) -> None:
    assert not is_exposed(settings(host))
    check(settings(host), None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.0.2.1", "example.org"])  # noqa: S104
def test_any_other_needs_identity_and_tls_and_says_how_to_have_them(host: str) -> None:
    said = missing(settings(host))
    for word in (
        host.strip("[]"),
        "CASCADA_TLS_CERT_FILE",
        "CASCADA_TLS_KEY_FILE",
        "identity",
        "CASCADA_CONFIG_FILE",
        "CASCADA_ALLOW_INSECURE=1",
    ):
        assert word in said


def test_each_is_needed_by_itself() -> None:
    assert "identity" not in missing(settings("::"), TOKENS)
    assert "TLS_CERT" not in missing(settings("::", **TLS))
    check(settings("::", **TLS), rules(TOKENS))


def test_an_identity_part_that_knows_nobody_is_none() -> None:
    assert "identity" in missing(settings("::", **TLS), {})


def test_identities_by_certificate_count_where_certificates_are_asked_for() -> None:
    assert "identity" in missing(settings("::", **TLS), CERTIFICATES)
    check(settings("::", **TLS, CASCADA_TLS_CLIENT_CA_FILE="/ca.pem"), rules(CERTIFICATES))


def test_the_operator_may_do_without() -> None:
    found = settings("::", CASCADA_ALLOW_INSECURE="1")
    assert not is_exposed(found)
    check(found, None)
