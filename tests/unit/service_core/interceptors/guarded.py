"""A server with the probe behind the guard, and callers with and without an identity."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascada.embedding.v1 import embedding_service_pb2 as embedding

from config_core.errors import Reason
from config_core.snapshot import Snapshots
from service_core.channel import create_channel
from service_core.identity import access, current
from service_core.identity.tokens import digest_of
from service_core.process import Process, configure
from service_core.request_context import read_context
from tests.unit.service_core.identity.issuing import AUDIENCE, ISSUER, SigningKey, key_set
from tests.unit.service_core.probe import (
    KINDS,
    SERVICE,
    Context,
    Message,
    add_probe,
    call,
    text,
)
from tests.unit.service_core.running import PORTS, caught

KEY = SigningKey()
TOKENS = {"caller": "cascada_caller", "indexer": "cascada_indexer", "hop": "cascada_hop"}
ROLES = {"caller": ["caller"], "indexer": ["indexer"], "hop": ["service"]}

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def identity(folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "keys.json").write_text(key_set(KEY), encoding="utf-8")
    tokens: dict[str, Any] = {
        name: {"sha256": digest_of(token), "roles": ROLES[name]} for name, token in TOKENS.items()
    }
    for name in ("caller", "indexer"):
        tokens[name]["tenant"] = "acme"
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "jwks": {"file": str(folder / "keys.json")},
        "tenant_claim": "org",
        "roles_claim": "roles",
    }
    return {"tokens": tokens, "issuers": {"corp": issuer}, **more}


@dataclass
class Probed:
    """A server with the probe on it, and what its handler has seen."""

    port: int
    file: Path
    snapshots: Snapshots
    entered: list[tuple[str | None, str]] = field(default_factory=list)
    """Name of the caller, and the tenant that a servicer works for, of each call."""

    @asynccontextmanager
    async def calling(self, metadata: Metadata = ()) -> AsyncIterator[grpc.aio.Channel]:
        async with create_channel(f"127.0.0.1:{self.port}") as channel:
            yield Sending(channel, metadata)  # type: ignore[misc] # as much of one as is used


class Sending:
    """A channel that sends metadata with each call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._channel = channel
        self._metadata = metadata

    def __getattr__(self, kind: str) -> Any:
        def method(*arguments: Any, **options: Any) -> Any:
            made = getattr(self._channel, kind)(*arguments, **options)

            def make(*given: Any, **named: Any) -> Any:
                return made(*given, metadata=self._metadata, **named)

            return make

        return method


@asynccontextmanager
async def probing(
    folder: Path, rules: Mapping[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Probed]:
    """Serve the probe's four calls; they take the role caller or service."""
    table = {f"/{SERVICE}/{kind}": frozenset({"caller", "service"}) for kind in KINDS}
    monkeypatch.setattr(access, "ROLES", {**access.ROLES, **table})
    path = folder / "cascada.json"
    path.write_text(json.dumps({} if rules is None else {"identity": rules}), encoding="utf-8")
    settings, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path)})
    probed = Probed(0, path, snapshots)

    async def behaviour(_: Context) -> AsyncIterator[Message]:
        caller = current()
        tenant = read_context(embedding.EmbedRequest().context, []).tenant_id
        probed.entered.append((caller.name if caller else None, tenant))
        yield text("answer")

    server = Process.of(settings, snapshots).server("probe", 0)
    server.add(SERVICE, add_probe, behaviour)
    await server.start()
    probed.port = server.port
    try:
        yield probed
    finally:
        await server.stop(0)


async def refused(
    probed: Probed, kind: str, metadata: Metadata, tenant: str = ""
) -> tuple[grpc.StatusCode, Reason, str]:
    request = text("question")
    request.context.tenant_id = tenant
    async with probed.calling(metadata) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(channel, kind, request)
    assert not probed.entered
    error = caught(raised.value)
    return raised.value.code(), error.code_reason, error.message
