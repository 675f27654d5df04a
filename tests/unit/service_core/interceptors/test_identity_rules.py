"""The rules of the file over a real server: what changes, what is open, and what is logged."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_core.channel import create_channel
from service_core.identity.tokens import digest_of
from tests.unit.service_core.interceptors.guarded import (
    TOKENS,
    Probed,
    bearer,
    identity,
    probing,
    refused,
)
from tests.unit.service_core.probe import call, health


async def test_a_change_of_the_file_holds_for_the_next_call(probed: Probed) -> None:
    async with probed.calling(bearer(TOKENS["caller"])) as channel:
        await call(channel, "UnaryUnary")
        known = json.loads(probed.file.read_text())  # a small file
        del known["identity"]["tokens"]["caller"]
        probed.file.write_text(json.dumps(known))  # a small file
        assert probed.snapshots.reload()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(channel, "UnaryUnary")
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_where_the_file_names_nobody_nobody_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with probing(tmp_path, {}, monkeypatch) as probed:
        code, _, _ = await refused(probed, "UnaryUnary", bearer(TOKENS["caller"]))
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_without_the_part_everybody_gets_in_as_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        probing(tmp_path, None, monkeypatch) as probed,
        probed.calling(bearer("whatever")) as channel,
    ):
        await call(channel, "UnaryUnary")
    assert probed.entered == [(None, "default")]


async def test_health_is_open_to_everybody(probed: Probed) -> None:
    async with probed.calling() as channel:
        await health(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)


REFLECTION_FOR = {
    "open": (None, "caller", "operator"),
    "identified": ("caller", "operator"),
    "operator": ("operator",),
    "off": (),
}


@pytest.mark.parametrize("policy", REFLECTION_FOR)
@pytest.mark.parametrize("who", [None, "caller", "operator"])
async def test_reflection_follows_its_policy(
    policy: str, who: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = identity(tmp_path, reflection=policy)
    rules["tokens"]["operator"] = {
        "sha256": digest_of("cascada_operator"),
        "tenant": "acme",
        "roles": ["operator"],
    }
    metadata = bearer(f"cascada_{who}") if who else ()
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async with (
        probing(tmp_path, rules, monkeypatch) as probed,
        create_channel(f"127.0.0.1:{probed.port}") as channel,
    ):
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type] # typed for sync channels only
        stream = stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=20)
        with suppress(grpc.aio.AioRpcError):
            _ = [answer async for answer in stream]
        code = await stream.code()
    if who in REFLECTION_FOR[policy]:
        assert code is grpc.StatusCode.OK
    elif policy == "off":
        assert code is grpc.StatusCode.UNIMPLEMENTED
    elif who is None:
        assert code is grpc.StatusCode.UNAUTHENTICATED
    else:
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_refusal_is_logged_with_who_was_refused(probed: Probed) -> None:
    with structlog.testing.capture_logs() as logs:
        await refused(probed, "UnaryUnary", ())
        await refused(probed, "UnaryUnary", bearer(TOKENS["indexer"]))
        await refused(probed, "UnaryUnary", bearer(TOKENS["caller"]), tenant="globex")
    lines = [entry for entry in logs if entry["event"] == "request"]
    assert [(line["reason"], line.get("caller"), line.get("tenant")) for line in lines] == [
        ("UNAUTHENTICATED", None, None),
        ("PERMISSION_DENIED", "token indexer", "acme"),
        ("PERMISSION_DENIED", "token caller", "globex"),
    ]
    assert not any(token in str(logs) for token in TOKENS.values())
