"""Identities by client certificate: gRPC has verified it, what is left is to know its names."""

from collections.abc import Iterable, Mapping

from config_core.identity import CertificateEntry

AuthContext = Mapping[str, Iterable[bytes]]
"""What `ServicerContext.auth_context()` gives."""


def find(peer: AuthContext, known: Mapping[str, CertificateEntry]) -> str | None:
    """The name under which the peer's certificate is known; the first, where it has several.

    Each kind of name is looked for in its own place: a common name that looks like a URI is none.
    """
    if b"ssl" not in peer.get("transport_security_type", ()):
        return None
    uris = set(_texts(peer, "peer_uri"))
    dns = {name.lower() for name in _texts(peer, "peer_dns")}
    common_names = set(_texts(peer, "x509_common_name"))
    for name, entry in known.items():
        if (
            entry.uri in uris
            or (entry.dns is not None and entry.dns.lower() in dns)
            or entry.common_name in common_names
        ):
            return name
    return None


def _texts(peer: AuthContext, key: str) -> list[str]:
    return [value.decode(errors="replace") for value in peer.get(key, ())]
