import pytest

from config_core.identity import CertificateEntry
from service_core.identity.certificates import AuthContext, find

GRANT = {"tenant": "acme", "roles": ["caller"]}
KNOWN = {
    "uri": CertificateEntry.model_validate({"uri": "spiffe://example/a", **GRANT}),
    "dns": CertificateEntry.model_validate({"dns": "a.example", **GRANT}),
    "name": CertificateEntry.model_validate({"common_name": "alice", **GRANT}),
}


def peer(**names: list[bytes]) -> AuthContext:
    return {"transport_security_type": [b"ssl"], **names}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"peer_uri": [b"spiffe://example/a"]}, "uri"),
        ({"peer_uri": [b"https://x", b"spiffe://example/a"]}, "uri"),
        ({"peer_dns": [b"a.example"]}, "dns"),
        ({"peer_dns": [b"A.Example"]}, "dns"),
        ({"x509_common_name": [b"alice"]}, "name"),
    ],
)
def test_a_certificate_is_known_by_its_name(names: dict[str, list[bytes]], found: str) -> None:
    assert find(peer(**names), KNOWN) == found


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"peer_uri": [b"spiffe://example/ab"]},
        {"peer_uri": [b"spiffe://EXAMPLE/a"]},
        {"peer_dns": [b"*.example"]},
        {"peer_dns": [b"sub.a.example"]},
        {"x509_common_name": [b"Alice"]},
        # Each name stands for itself in its own place only.
        {"x509_common_name": [b"spiffe://example/a"]},
        {"x509_common_name": [b"a.example"]},
        {"peer_dns": [b"alice"]},
        {"peer_dns": [b"spiffe://example/a"]},
        {"x509_subject_alternative_name": [b"spiffe://example/a", b"a.example"]},
    ],
)
def test_any_other_name_is_nobodys(names: dict[str, list[bytes]]) -> None:
    assert find(peer(**names), KNOWN) is None


def test_names_of_a_connection_without_tls_are_nobodys() -> None:
    insecure: AuthContext = {
        "transport_security_type": [b"insecure"],
        "peer_uri": [b"spiffe://example/a"],
    }
    assert find(insecure, KNOWN) is None
    assert find({"peer_uri": [b"spiffe://example/a"]}, KNOWN) is None
