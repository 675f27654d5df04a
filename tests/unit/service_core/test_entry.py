import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import structlog
from cascada.embedding.v1 import embedding_service_pb2 as embedding

from config_core.errors import ConfigurationFileError
from config_core.settings import Settings
from service_core import entry
from service_core.process import Process
from service_core.server import BindError, GrpcServer
from tests.unit.service_core.probe import SERVICE, Context, add_probe
from tests.unit.service_core.running import PORTS


async def _silent(_: Context) -> AsyncIterator[embedding.EmbedRequest]:
    yield embedding.EmbedRequest()


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the logging and the garbage collector of the test's own process as they are."""
    monkeypatch.setattr(entry, "configure_logs", lambda *_, **__: None)
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


class Services:
    """Two services that note what becomes of them."""

    def __init__(self, *, second_fails: bool = False) -> None:
        self.events: list[str] = []
        self._second_fails = second_fails

    async def first(self, opened: Process, stack: AsyncExitStack) -> GrpcServer:
        return await self._build("first", opened, stack)

    async def second(self, opened: Process, stack: AsyncExitStack) -> GrpcServer:
        if self._second_fails:
            raise BindError("127.0.0.1", 1)
        server = await self._build("second", opened, stack)
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        return server

    async def _build(self, name: str, opened: Process, stack: AsyncExitStack) -> GrpcServer:
        events = self.events

        class Noting(GrpcServer):
            async def stop(self, grace: float) -> None:
                events.append(f"{name} drained")
                await super().stop(grace)

        server = Noting(opened.settings.host, 0)
        server.add(SERVICE, add_probe, _silent)
        await server.start()
        events.append(f"{name} built")
        stack.callback(events.append, f"{name} closed")
        return server


@pytest.mark.usefixtures("_quiet")
def test_services_are_built_in_order_and_those_in_front_drain_first() -> None:
    services = Services()
    entry.run([services.first, services.second], dict(PORTS))
    assert services.events == [
        "first built",
        "second built",
        "second drained",
        "first drained",
        "second closed",
        "first closed",
    ]


@pytest.mark.usefixtures("_quiet")
def test_a_service_that_cannot_be_built_closes_those_before_it() -> None:
    services = Services(second_fails=True)
    with pytest.raises(BindError):
        entry.run([services.first, services.second], dict(PORTS))
    assert services.events[-1] == "first closed"


@pytest.mark.usefixtures("_quiet")
def test_the_garbage_collector_passes_over_what_was_there_before_the_first_request() -> None:
    entry.run([Services().second], dict(PORTS))
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() == entry.GC_THRESHOLDS


@pytest.mark.usefixtures("_quiet")
def test_a_variable_that_would_export_prompts_is_dropped() -> None:
    services, environ = Services(), {**PORTS, "MISTRAL_SDK_TELEMETRY": "1"}
    entry.run([services.second], environ)
    assert "MISTRAL_SDK_TELEMETRY" not in environ


@pytest.mark.usefixtures("_quiet")
def test_a_variable_that_nothing_reads_is_reported() -> None:
    services, environ = Services(), {**PORTS, "CASCADA_TEMPRATURE": "0.5"}
    with structlog.testing.capture_logs() as logs:
        entry.run([services.second], environ)
    assert [entry["variable"] for entry in logs if entry["log_level"] == "warning"] == [
        "CASCADA_TEMPRATURE"
    ]


@pytest.mark.usefixtures("_quiet")
def test_an_invalid_environment_is_refused_before_anything_is_built() -> None:
    services = Services()
    with pytest.raises(ConfigurationFileError):
        entry.run([services.first], {**PORTS, "CASCADA_GRACE_SECONDS": "soon"})
    assert services.events == []


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"CASCADA_HOST": "localhost"}, 0.0),
        ({"CASCADA_HOST": "192.0.2.1"}, entry.DEFAULT_SETTLE_SECONDS),
        ({"CASCADA_HOST": "192.0.2.1", "CASCADA_SETTLE_SECONDS": "0"}, 0.0),
        ({"CASCADA_SETTLE_SECONDS": "2"}, 2.0),
    ],
)
def test_it_settles_where_a_load_balancer_may_stand_before_it(
    environ: dict[str, str], seconds: float
) -> None:
    assert entry.settle_of(Settings.read(environ)) == seconds
