"""The guard itself: which of two identities counts."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config_core.errors import PermissionDeniedError, UnauthenticatedError
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshots
from config_core.sources import environment
from service_core.identity import Guard
from service_core.identity.tokens import digest_of

QUERY = "/cascada.query.v1.QueryService/Query"
IDENTITY = {
    "tokens": {"web": {"sha256": digest_of("t"), "tenant": "acme", "roles": ["caller"]}},
    "certificates": {"host": {"dns": "a.example", "tenant": "globex", "roles": ["caller"]}},
}


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    path = tmp_path / "cascada.json"
    path.write_text(json.dumps({"identity": IDENTITY}), encoding="utf-8")
    return Guard(Snapshots(path, environment.read({}), LocalSecrets({})))


def call(*authorization: str) -> Any:
    """A call over a connection whose certificate is known."""
    return SimpleNamespace(
        invocation_metadata=lambda: [("authorization", value) for value in authorization],
        auth_context=lambda: {"transport_security_type": [b"ssl"], "peer_dns": [b"a.example"]},
    )


async def test_a_certificate_is_enough(guard: Guard) -> None:
    found = await guard.identify(QUERY, call())
    assert found is not None
    assert (found.caller.name, found.caller.tenant) == ("certificate host", "globex")


async def test_a_token_counts_before_the_certificate_of_its_connection(guard: Guard) -> None:
    found = await guard.identify(QUERY, call("Bearer t"))
    assert found is not None
    assert (found.caller.name, found.caller.tenant) == ("token web", "acme")


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer", "Bearer ", "Basic dTpw", ""])
async def test_a_token_that_is_wrong_is_not_made_good_by_a_certificate(
    value: str, guard: Guard
) -> None:
    with pytest.raises(UnauthenticatedError):
        await guard.identify(QUERY, call(value))


async def test_what_is_in_no_table_is_open_to_nobody(guard: Guard) -> None:
    found = await guard.identify("/cascada.query.v1.QueryService/Drop", call())
    assert found is not None
    with pytest.raises(PermissionDeniedError, match="open to nobody"):
        found.check()


async def test_the_token_of_the_process_itself_is_its_own(guard: Guard) -> None:
    found = await guard.identify(QUERY, call(f"Bearer {guard.own_token}"))
    assert found is not None
    assert found.caller.speaks_for_all
    assert guard.own_token not in repr(guard)
    other = Guard(guard._snapshots)  # the same rules, another process
    with pytest.raises(UnauthenticatedError):
        await other.identify(QUERY, call(f"Bearer {guard.own_token}"))
