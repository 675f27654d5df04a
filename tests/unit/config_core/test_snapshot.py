"""The snapshot: one state for one request, and a file that is watched."""

# ruff: noqa: ASYNC240  # a test writes its small file on the spot

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config_core import snapshot as module
from config_core.errors import ConfigurationFileError
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshot, Snapshots
from config_core.sources import environment
from tests.unit.config_core.support import asked


class Watched:
    """A file under watch, with what the watch has reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes: asyncio.Queue[Snapshot] = asyncio.Queue()
        self.refusals: asyncio.Queue[ConfigurationFileError] = asyncio.Queue()
        self.snapshots = Snapshots(
            path,
            environment.read({}),
            LocalSecrets({}),
            self.changes.put_nowait,
            self.refusals.put_nowait,
        )

    def temperature(self) -> float | None:
        return temperature(self.snapshots.current)


def temperature(snapshot: Snapshot) -> float | None:
    return snapshot.resolve("chat", "t", asked()).require().values.temperature


def document(value: float, **more: Any) -> str:
    return json.dumps({"defaults": {"temperature": value}} | more)


@asynccontextmanager
async def watching(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.002)
    watched = Watched(path)
    task = asyncio.create_task(watched.snapshots.watch())
    try:
        yield watched
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cascada.json"
    path.write_text(document(0.5))
    return path


async def test_a_change_takes_effect_for_the_next_request(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(path, monkeypatch) as watched:
        before = watched.snapshots.current
        assert watched.temperature() == 0.5
        path.write_text(document(1.25))
        changed = await watched.changes.get()
        assert watched.temperature() == 1.25
        assert changed.version != before.version


async def test_a_request_keeps_the_snapshot_that_it_took(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(path, monkeypatch) as watched:
        taken = watched.snapshots.current
        path.write_text(document(1.25))
        await watched.changes.get()
        assert temperature(taken) == 0.5


@pytest.mark.parametrize(
    "text",
    ["{", document(9), "[" * 100_000, '{"defaults": {"seed": ' + "9" * 5000 + "}}"],
    ids=["cut", "out of range", "too deep", "too many digits"],
)
async def test_a_broken_file_changes_nothing_and_is_reported_once_for_each_change(
    text: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(path, monkeypatch) as watched:
        before = watched.snapshots.current
        path.write_text(text)
        refused = await watched.refusals.get()
        assert refused.place == str(path)
        await asyncio.sleep(0.03)
        assert watched.refusals.empty()
        assert watched.snapshots.current is before
        path.write_text(text + " ")
        await watched.refusals.get()
        path.write_text(document(1.25))
        await watched.changes.get()
        assert watched.temperature() == 1.25


async def test_a_file_that_goes_away_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(path, monkeypatch) as watched:
        path.unlink()
        await watched.refusals.get()
        assert watched.temperature() == 0.5
        path.write_text(document(1.5))
        await watched.changes.get()
        assert watched.temperature() == 1.5


async def test_a_mounted_volume_is_followed_when_its_link_is_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("one", 0.5), ("two", 0.7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cascada.json").write_text(document(value))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "cascada.json").symlink_to("..data/cascada.json")
    async with watching(tmp_path / "cascada.json", monkeypatch) as watched:
        assert watched.temperature() == 0.5
        (tmp_path / "..data_tmp").symlink_to("two")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await watched.changes.get()
        assert watched.temperature() == 0.7


def test_a_new_key_holds_though_the_version_does_not_tell(path: Path) -> None:
    watched = Watched(path)
    for key in ("sk-one", "sk-two"):
        path.write_text(json.dumps({"defaults": {"chat_provider": "openai", "chat_api_key": key}}))
        assert watched.snapshots.reload()
        effective = watched.snapshots.current.resolve("chat", "t", asked()).require()
        credential = effective.primary.connection.credential
        assert credential is not None
        assert credential.key.get_secret_value() == key
    assert watched.changes.qsize() == 1


def test_a_file_that_contradicts_the_environment_is_refused(path: Path) -> None:
    path.write_text(json.dumps({"endpoints": {"e": {"provider": "groq", "base_url": "http://x"}}}))
    variables = environment.read({"CASCADA_CHAT_ENDPOINT": "e"})
    refused: list[ConfigurationFileError] = []
    snapshots = Snapshots(path, variables, LocalSecrets({}), on_refusal=refused.append)
    path.write_text("{}")
    assert not snapshots.reload()
    assert "CASCADA_CHAT_ENDPOINT" in str(refused[0])
    assert "e" in snapshots.current.document.endpoints


def test_the_first_snapshot_has_to_be_valid(path: Path) -> None:
    path.write_text("{")
    with pytest.raises(ConfigurationFileError):
        Watched(path)


async def test_without_a_file_there_is_nothing_to_watch() -> None:
    snapshots = Snapshots(None, environment.read({}), LocalSecrets({}))
    await snapshots.watch()
    assert temperature(snapshots.current) == 0.0


async def test_the_watch_outlives_whatever_goes_wrong_in_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config_core.snapshot.POLL_SECONDS", 0.001)
    path = tmp_path / "c.json"
    path.write_text("{}")
    refused = asyncio.Event()

    def fail(_: object) -> None:
        raise RuntimeError

    snapshots = Snapshots(
        path, environment.read({}), LocalSecrets({}), fail, lambda _: refused.set()
    )
    watch = asyncio.create_task(snapshots.watch())
    path.write_text('{"defaults": {"temperature": 0.5}}')
    async with asyncio.timeout(10):
        await refused.wait()
    assert not watch.done()
    watch.cancel()
    await asyncio.wait([watch])
