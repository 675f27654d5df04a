"""What `doctor` says of identity and TLS."""

from pathlib import Path
from typing import Any

import pytest

from cli.authority import Authority
from cli.checks import Finding, State
from cli.identity_findings import identity_findings
from config_core.file_reader import parse
from tests.unit.service_core.tls.certificates import Certificates, settings

TOKENS = {"tokens": {"web": {"sha256": "a" * 64, "tenant": "acme", "roles": ["caller"]}}}
CERTIFICATES = {"certificates": {"web": {"dns": "x", "tenant": "acme", "roles": ["caller"]}}}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def findings(identity: Any = None, **environ: str) -> dict[str, Finding]:
    rules = parse({"identity": identity}, "test").identity
    return {found.what: found for found in identity_findings(settings(environ), rules)}


def test_off_and_in_plain_text_is_worth_knowing() -> None:
    found = findings()
    assert found["callers"].state is State.NOTE
    assert "off" in found["callers"].detail
    assert found["TLS"].state is State.NOTE


def test_on_says_how_many_are_known() -> None:
    found = findings(TOKENS)
    assert found["callers"].state is State.OK
    assert "1 tokens" in found["callers"].detail


def test_on_with_nobody_known_is_broken() -> None:
    assert findings({})["callers"].state is State.BROKEN


def test_a_server_that_would_not_start_is_broken() -> None:
    found = findings(CASCADA_HOST="0.0.0.0")  # noqa: S104 # it is refused
    assert found["CASCADA_HOST"].state is State.BROKEN


def test_files_that_do_not_fit_are_broken(certificates: Certificates) -> None:
    certificates.path("server.key").write_bytes(Authority(1).pair.key)
    found = findings(TOKENS, **certificates.server())
    assert found["CASCADA_TLS_KEY_FILE"].state is State.BROKEN


def test_certificates_are_told_with_their_end(certificates: Certificates) -> None:
    found = findings(TOKENS, **certificates.server(mutual=True), **certificates.client(shows=True))
    assert found["TLS"].state is State.OK
    assert "every client" in found["TLS"].detail
    assert "encrypted" in found["calls to other services"].detail
    # They end tomorrow, which is soon.
    assert found["server certificate"].state is State.NOTE
    assert "valid until" in found["client certificate"].detail


@pytest.mark.parametrize(("days", "state"), [(-1, State.BROKEN), (3, State.NOTE), (30, State.OK)])
def test_a_certificate_that_ends_is_found(
    days: int, state: State, certificates: Certificates
) -> None:
    certificates.renew("server", Authority(days) if days > 0 else _expired())
    assert findings(TOKENS, **certificates.server())["server certificate"].state is state


def _expired() -> Authority:
    authority = Authority(1)
    authority._days = -0.01  # type: ignore[assignment] # minutes ago, after it began
    return authority


def test_identities_by_certificate_need_a_server_that_asks_for_them(
    certificates: Certificates,
) -> None:
    found = findings(CERTIFICATES, **certificates.server())
    assert found["CASCADA_TLS_CLIENT_CA_FILE"].state is State.BROKEN
    assert "CASCADA_TLS_CLIENT_CA_FILE" not in findings(
        CERTIFICATES, **certificates.server(mutual=True)
    )
