import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
from cascada.embedding.v1 import embedding_service_pb2 as embedding

from config_core.errors import (
    CollectionNotFoundError,
    ConfigurationFileError,
)
from service_core.channel import create_channel
from service_core.process import Process, configure, open_process
from tests.unit.service_core.probe import (
    SERVICE,
    Context,
    add_probe,
    failure,
    raising,
)
from tests.unit.service_core.running import PORTS, caught


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task brings about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 # what is waited for tells nobody
            await asyncio.sleep(0.01)


async def _silent(_: Context) -> AsyncIterator[embedding.EmbedRequest]:
    yield embedding.EmbedRequest()


# --- configure -----------------------------------------------------------------------------------


def test_settings_and_layers_are_read_from_the_environment_that_is_given() -> None:
    settings, snapshots = configure({"CASCADA_HOST": "::1", "CASCADA_TEMPERATURE": "0"})
    assert settings.host == "::1"
    assert snapshots.current.environment.configuration.temperature == 0


def test_nothing_is_read_from_the_process_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_HOST", "192.0.2.1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-0123")
    settings, snapshots = configure({})
    assert settings.host == "127.0.0.1"
    assert not snapshots.current.environment.connections


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CASCADA_QUERY_PORT", "many"), ("CASCADA_TEMPERATURE", "9"), ("OPENAI_BASE_URL", "ftp://x")],
)
def test_a_variable_that_is_invalid_is_named_without_its_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationFileError, match=variable) as raised:
        configure({variable: value})
    assert value not in str(raised.value)


def test_an_invalid_file_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    path.write_text('{"defaults": {"temperature": 9}}', encoding="utf-8")
    with pytest.raises(ConfigurationFileError, match=r"defaults\.temperature"):
        configure({"CASCADA_CONFIG_FILE": str(path)})


# --- open_process --------------------------------------------------------------------------------


async def test_a_change_of_the_file_is_found_while_the_process_runs(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    path.write_text("{}", encoding="utf-8")
    settings, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path)})
    before = snapshots.current
    with structlog.testing.capture_logs() as logs:
        async with AsyncExitStack() as stack:
            opened = await open_process(settings, snapshots, stack)
            path.write_text('{"defaults": {"temperature": 0.5}}', encoding="utf-8")
            await until(lambda: opened.snapshots.current is not before)
    assert snapshots.current.document.defaults.temperature == 0.5
    assert [entry["version"] for entry in logs if entry["event"] == "configuration changed"] == [
        snapshots.current.version
    ]


async def test_an_invalid_change_is_reported_with_file_path_and_reason_and_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cascada.json"
    path.write_text("{}", encoding="utf-8")
    settings, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path)})
    before = snapshots.current
    with structlog.testing.capture_logs() as logs:
        async with AsyncExitStack() as stack:
            await open_process(settings, snapshots, stack)
            path.write_text('{"defaults": {"temperature": "canary-0123"}}', encoding="utf-8")
            await until(lambda: bool(logs))
    assert snapshots.current is before
    (entry,) = logs
    assert entry["log_level"] == "error"
    assert str(path) in entry["problem"]
    assert "defaults.temperature" in entry["problem"]
    assert "canary-0123" not in entry["problem"]


async def test_closing_ends_the_watch_and_frees_the_metrics_port(tmp_path: Path) -> None:
    path = tmp_path / "cascada.json"
    path.write_text("{}", encoding="utf-8")
    settings, snapshots = configure({**PORTS, "CASCADA_CONFIG_FILE": str(path)})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = settings.model_copy(update={"metrics_port": port})
    async with AsyncExitStack() as stack:
        await open_process(settings, snapshots, stack)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_its_servers_turn_errors_into_statuses_and_count_them() -> None:
    settings, snapshots = configure(PORTS)
    async with AsyncExitStack() as stack:
        opened = await open_process(settings, snapshots, stack)
        server = opened.server("query", 0)
        server.add(SERVICE, add_probe, raising(lambda: CollectionNotFoundError("handbook")))
        await server.start()
        stack.push_async_callback(server.stop, 0)
        async with create_channel(f"127.0.0.1:{server.port}") as channel:
            error = caught(await failure(channel))
        await until(lambda: bool(_counted(opened)))
    assert error.metadata == {"collection": "handbook"}
    assert _counted(opened) == [("query", "COLLECTION_NOT_FOUND")]


def _counted(opened: Process) -> list[tuple[str, str]]:
    return [
        (sample.labels["service"], sample.labels["reason"])
        for metric in opened.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "cascada_requests_total"
    ]
