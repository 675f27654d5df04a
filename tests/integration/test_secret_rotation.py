"""A secret that is rotated while requests run: none fails, and the new one is soon in force."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as execution
from cascada.common.v1 import request_context_pb2

from config_core.model_configuration import ModelProvider
from tests.faults.services import Services, serve
from tests.upstream.behaviours import Answer, Status
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.server import UpstreamServer

OPENAI = ModelProvider.OPENAI
OLD, NEW = "sk-the-old-one-0123456789", "sk-the-new-one-that-is-longer-0123456789"
CONTEXT = request_context_pb2.RequestContext(tenant_id="acme")


def known_alone(received: Received) -> Behaviour:
    return Answer() if received.key in (OLD, NEW) else Status(401)


def in_place(path: Path) -> None:
    """As a careless script does it: first empty, then half of it, then all."""
    with path.open("w") as file:
        for part in (NEW[:12], NEW[12:]):
            time.sleep(0.03)
            file.write(part)
            file.flush()


def replaced(path: Path) -> None:
    """As a careful one does it."""
    fresh = path.with_name("fresh")
    fresh.write_text(f"{NEW}\n")
    fresh.replace(path)


def folder_swapped(path: Path) -> None:
    """As Kubernetes does it."""
    data = path.parent / "..data"
    (path.parent / "..new").mkdir()
    (path.parent / "..new" / "key").write_text(NEW)
    (path.parent / "..data_tmp").symlink_to("..new")
    (path.parent / "..data_tmp").replace(data)


@pytest.mark.parametrize("rotate", [in_place, replaced, folder_swapped])
async def test_no_request_fails_while_a_secret_is_rotated(
    rotate: Callable[[Path], None], tmp_path: Path
) -> None:
    mount = tmp_path / "secrets"
    (mount / "..old").mkdir(parents=True)
    (mount / "..old" / "key").write_text(OLD)
    (mount / "..data").symlink_to("..old")
    (mount / "key").symlink_to("..data/key")
    over = asyncio.Event()

    async def ask(services: Services) -> None:
        request = execution.ExecuteRequest(context=CONTEXT, message="x")
        while not over.is_set():
            await services.agent.Execute(request, timeout=20)

    async with UpstreamServer() as upstream:
        upstream.choose = known_alone
        address = {"provider": "openai", "base_url": upstream.url(OPENAI), "private": True}
        credentials = {"openai": {"from": {"file": str(mount / "key")}}}
        document = {
            "endpoints": {"openai": address},
            "tenants": {"acme": {"credentials": credentials}},
        }
        async with serve(tmp_path, upstream, document) as services:
            asking = [asyncio.create_task(ask(services)) for _ in range(4)]
            await upstream.received(20)
            path = mount / "key"
            await asyncio.to_thread(rotate, path)
            async with asyncio.timeout(20):
                while upstream.requests[-1].key != NEW:
                    await upstream.received(len(upstream.requests) + 1)
            await upstream.received(len(upstream.requests) + 20)
            over.set()
            await asyncio.gather(*asking)
    keys = [received.key for received in upstream.requests]
    assert set(keys) == {OLD, NEW}
    assert set(keys[-4:]) == {NEW}
