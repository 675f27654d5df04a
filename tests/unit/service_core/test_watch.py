"""Files that are looked at while the process runs."""

# a test writes its small files on the spot

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from service_core import watch as module
from service_core.watch import Watch


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.002)


@asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


class Reader:
    def __init__(self) -> None:
        self.told: asyncio.Queue[None] = asyncio.Queue()
        self.failing = False

    async def reload(self) -> None:
        self.told.put_nowait(None)
        if self.failing:
            raise RuntimeError("canary")

    async def is_told(self) -> None:
        async with asyncio.timeout(20):
            await self.told.get()


async def test_what_changed_before_the_watch_began_is_found(tmp_path: Path) -> None:
    reader, watch = Reader(), Watch()
    watch.add([tmp_path / "a"], reader.reload)
    (tmp_path / "a").write_text("1")
    async with running(watch):
        await reader.is_told()


@pytest.mark.parametrize("name", ["a", "b"])
async def test_each_file_of_a_set_is_watched(name: str, tmp_path: Path) -> None:
    reader, watch = Reader(), Watch()
    for each in ("a", "b"):
        (tmp_path / each).write_text("1")
    watch.add([tmp_path / "a", tmp_path / "b"], reader.reload)
    async with running(watch):
        await reader.is_told()
        (tmp_path / name).write_text("22")
        await reader.is_told()
        (tmp_path / name).unlink()
        await reader.is_told()
        (tmp_path / name).write_text("22")
        await reader.is_told()


async def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    reader, watch = Reader(), Watch()
    for each in ("old", "new"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "key").write_text("same")
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "old")
    watch.add([link / "key"], reader.reload)
    async with running(watch):
        await reader.is_told()
        other = tmp_path / "other"
        other.symlink_to(tmp_path / "new")
        other.replace(link)
        await reader.is_told()


async def test_what_stays_as_it_is_is_not_read_again(tmp_path: Path) -> None:
    reader, other, watch = Reader(), Reader(), Watch()
    (tmp_path / "a").write_text("1")
    watch.add([tmp_path / "a"], reader.reload)
    watch.add([tmp_path / "b"], other.reload)
    async with running(watch):
        await reader.is_told()
        for number in range(3):
            (tmp_path / "b").write_text("x" * (number + 1))
            await other.is_told()
    assert reader.told.empty()


async def test_the_watch_outlives_a_fault_of_what_it_tells(tmp_path: Path) -> None:
    reader, watch = Reader(), Watch()
    reader.failing = True
    watch.add([tmp_path / "a"], reader.reload)
    with structlog.testing.capture_logs() as logs:
        async with running(watch):
            (tmp_path / "a").write_text("1")
            await reader.is_told()
            (tmp_path / "a").write_text("22")
            await reader.is_told()
    assert logs
    assert "canary" not in str(logs)


async def test_all_are_read_again_on_demand_changed_or_not(tmp_path: Path) -> None:
    readers, watch = [Reader(), Reader()], Watch()
    readers[0].failing = True
    for reader in readers:
        watch.add([tmp_path / "a"], reader.reload)
    await watch.reload()
    for reader in readers:
        await reader.is_told()
