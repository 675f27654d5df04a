"""What `doctor` says of identity and TLS: who may call, and whether certificates fit and last."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cli.checks import Finding, State
from config_core.errors import ConfigurationFileError
from config_core.identity import IdentityRules
from config_core.settings import Settings
from service_core.identity import startup
from service_core.outgoing import Outgoing
from service_core.tls import ServerTls

_AREA = "identity"
_SOON = timedelta(days=14)


def identity_findings(settings: Settings, rules: IdentityRules | None) -> Iterator[Finding]:
    """A finding for identity, TLS and each certificate of this environment. Blocks on files."""
    try:
        startup.check(settings, rules)
        tls = ServerTls.of(settings)
        outgoing = Outgoing.of_service(settings)
    except ConfigurationFileError as error:
        for path, why in error.problems:
            yield Finding(_AREA, path, State.BROKEN, why)
        return
    yield _callers(settings, rules)
    if rules is not None and rules.certificates and not (tls and tls.verifies_clients):
        detail = "identities by certificate, which no server here asks for: set it"
        yield Finding(_AREA, "CASCADA_TLS_CLIENT_CA_FILE", State.BROKEN, detail)
    if tls is None:
        yield Finding(_AREA, "TLS", State.NOTE, "servers in plain text")
    else:
        clients = "a certificate from every client" if tls.verifies_clients else "no certificate"
        yield Finding(_AREA, "TLS", State.OK, f"servers encrypt and ask for {clients}")
    whom = "encrypted" if outgoing.tls is not None else "plain text"
    token = "with a token" if outgoing.token.is_set else "without a token"
    yield Finding(_AREA, "calls to other services", State.OK, f"{whom}, {token}")
    if settings.tls_cert_file is not None:
        yield _certificate("server certificate", settings.tls_cert_file)
    if settings.tls_client_cert_file is not None:
        yield _certificate("client certificate", settings.tls_client_cert_file)


def _callers(settings: Settings, rules: IdentityRules | None) -> Finding:
    if rules is None:
        detail = "off: whoever reaches the services may call them"
        if settings.host and startup.is_exposed(settings):
            detail = "on, and nobody is known"
        return Finding(_AREA, "callers", State.NOTE, detail)
    detail = (
        f"on: {len(rules.tokens)} tokens, {len(rules.certificates)} certificates, "
        f"{len(rules.issuers)} issuers"
    )
    known = rules.tokens or rules.certificates or rules.issuers
    return Finding(_AREA, "callers", State.OK if known else State.BROKEN, detail)


def _certificate(name: str, path: Path) -> Finding:
    until = x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    left = until - datetime.now(UTC)
    detail = f"valid until {until:%Y-%m-%d %H:%M} UTC"
    if left < timedelta(0):
        return Finding(_AREA, name, State.BROKEN, f"{detail}: it has expired")
    return Finding(_AREA, name, State.NOTE if left < _SOON else State.OK, detail)
