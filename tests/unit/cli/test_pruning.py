import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb
from typer.testing import Result

from cli import pruning
from config_core.errors import Reason, RemoteError
from tests.unit.cli.fake_services import CommandLine

SUMMARY = pb.IndexDocumentsResponse(summary=document_pb2.IndexSummary())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("docs/a.md", "docs/sub/b.md", "docs2/c.md", "docs/other.rst"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text", encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def _stored(cascada: CommandLine, folder: Path) -> None:
    cascada.fake.results = [SUMMARY]
    cascada.fake.stored = {
        "here": f"{folder}/docs/a.md",
        "here below": f"{folder}/docs/sub/b.md",
        "gone": f"{folder}/docs/gone.md",
        "gone below": f"{folder}/docs/sub/gone.pdf",
        "gone with its folder": f"{folder}/docs/away/gone.md",
        "named like a folder": f"{folder}/docs/sub",
        "below a file": f"{folder}/docs/a.md/gone.md",
        "of a neighbour": f"{folder}/docs2/gone.md",
        "of a neighbour, here": f"{folder}/docs2/c.md",
        "the folder itself": f"{folder}/docs",
        "indexed by its name": f"{folder}/docs/other.rst",
        "relative": "docs/gone.md",
        "elsewhere": "/nowhere/gone.md",
        "climbing": f"{folder}/docs/../docs2/gone.md",
        "of no file": f"https://example.org{folder}/docs/gone.md",
        "unknown": "",
        "nonsense": f"{folder}/docs/\0",
    }


VANISHED = {"gone", "gone below", "gone with its folder", "named like a folder", "below a file"}


def _prune(cascada: CommandLine, *places: Path | str, options: tuple[str, ...] = ()) -> Result:
    return cascada("index", *map(str, places), "-c", "c", "--prune", *options)


def test_exactly_what_has_vanished_under_the_folder_is_removed(
    cascada: CommandLine, folder: Path
) -> None:
    before = set(cascada.fake.stored)
    result = _prune(cascada, folder / "docs")
    assert result.exit_code == 0
    assert before - set(cascada.fake.stored) == VANISHED
    removed = {
        line.removeprefix("removed ")
        for line in result.stdout.splitlines()
        if line.startswith("removed ")
    }
    assert removed == VANISHED
    assert ", 5 removed," in result.stdout


def test_the_removed_documents_stand_in_the_json(cascada: CommandLine, folder: Path) -> None:
    result = _prune(cascada, folder / "docs", options=("--json",))
    assert set(json.loads(result.stdout)["removed"]) == VANISHED


def test_without_prune_nothing_is_removed(cascada: CommandLine, folder: Path) -> None:
    before = dict(cascada.fake.stored)
    assert cascada("index", str(folder / "docs"), "-c", "c").exit_code == 0
    assert cascada.fake.stored == before


def test_each_of_several_folders_is_pruned(cascada: CommandLine, folder: Path) -> None:
    before = set(cascada.fake.stored)
    assert _prune(cascada, folder / "docs", folder / "docs2").exit_code == 0
    assert before - set(cascada.fake.stored) == {*VANISHED, "of a neighbour"}


def test_a_folder_is_the_same_however_it_is_named(
    cascada: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "docs2")
    before = set(cascada.fake.stored)
    assert _prune(cascada, "../docs/sub/../").exit_code == 0
    assert before - set(cascada.fake.stored) == VANISHED


def test_a_folder_with_nothing_left_is_pruned(cascada: CommandLine, folder: Path) -> None:
    (folder / "docs2/c.md").unlink()
    before = set(cascada.fake.stored)
    assert _prune(cascada, folder / "docs2").exit_code == 0
    assert before - set(cascada.fake.stored) == {"of a neighbour", "of a neighbour, here"}


def test_many_documents_are_listed_and_removed_in_pages(
    cascada: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_PAGE", 2)
    before = set(cascada.fake.stored)
    assert _prune(cascada, folder / "docs").exit_code == 0
    assert before - set(cascada.fake.stored) == VANISHED
    sizes = [
        len(request.document_ids)
        for request in cascada.fake.requests
        if isinstance(request, pb.DeleteDocumentsRequest)
    ]
    assert sizes == [2, 2, 1]


def test_the_tenant_and_the_collection_are_those_of_the_command(
    cascada: CommandLine, folder: Path
) -> None:
    assert _prune(cascada, folder / "docs", options=("--tenant", "acme")).exit_code == 0
    asked = [
        (request.context.tenant_id, request.collection)
        for request in cascada.fake.requests
        if isinstance(request, pb.ListDocumentsRequest | pb.DeleteDocumentsRequest)
    ]
    assert asked == [("acme", "c")] * 2


def test_where_something_could_not_be_looked_at_nothing_is_removed(
    cascada: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def scandir(path: str) -> Iterator[Any]:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    before = set(cascada.fake.stored)
    result = _prune(cascada, folder / "docs", folder / "docs2")
    assert result.exit_code == 1
    assert f"failed  {folder}/docs/sub: can't be read: Permission denied" in result.stdout
    assert f"Nothing is removed under {folder}/docs:" in result.stderr
    assert before - set(cascada.fake.stored) == {"of a neighbour"}


def test_a_file_that_can_not_be_looked_at_has_not_vanished(
    cascada: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("gone.md"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    before = set(cascada.fake.stored)
    assert _prune(cascada, folder / "docs").exit_code == 0
    assert before - set(cascada.fake.stored) == {"gone below", "named like a folder"}


@pytest.mark.parametrize("places", [["docs/a.md"], ["docs/*.md"]])
def test_files_and_patterns_alone_can_not_be_pruned(
    cascada: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch, places: list[str]
) -> None:
    monkeypatch.chdir(folder)
    result = _prune(cascada, *places)
    assert result.exit_code == 2
    assert "name the folder" in result.stderr
    assert cascada.fake.requests == []


def test_a_file_beside_a_folder_is_no_folder(cascada: CommandLine, folder: Path) -> None:
    before = set(cascada.fake.stored)
    assert _prune(cascada, folder / "docs2", folder / "docs/a.md").exit_code == 0
    assert before - set(cascada.fake.stored) == {"of a neighbour"}


def test_an_indexing_that_broke_off_removes_nothing(cascada: CommandLine, folder: Path) -> None:
    before = dict(cascada.fake.stored)
    cascada.fake.error = RemoteError(Reason.UPSTREAM_FAILED, "The disk is full.")
    assert _prune(cascada, folder / "docs").exit_code == 1
    cascada.fake.error, cascada.fake.results = None, []
    assert _prune(cascada, folder / "docs").exit_code == 1  # no summary came
    assert cascada.fake.stored == before


def test_a_collection_that_is_not_there_has_nothing_to_remove(
    cascada: CommandLine, folder: Path
) -> None:
    cascada.fake.stored = {}
    result = _prune(cascada, folder / "docs")
    assert (result.exit_code, result.stdout) == (
        0,
        "c: 0 indexed, 0 unchanged, 0 failed, 0 passages written\n",
    )


def test_a_dry_run_lists_and_changes_nothing(cascada: CommandLine, folder: Path) -> None:
    before = dict(cascada.fake.stored)
    result = _prune(cascada, folder / "docs", options=("--dry-run",))
    assert result.exit_code == 0
    lines = set(result.stdout.splitlines())
    assert {"would index  a.md", "would index  sub/b.md"} <= lines
    assert {line for line in lines if "remove" in line} == {
        f"would remove {name}" for name in VANISHED
    }
    assert cascada.fake.stored == before
    assert {type(request) for request in cascada.fake.requests} == {pb.ListDocumentsRequest}


def test_a_dry_run_without_prune_needs_no_service(cascada: CommandLine, folder: Path) -> None:
    result = cascada("index", str(folder / "docs"), "-c", "c", "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "would_index": ["a.md", "sub/b.md"],
        "would_remove": [],
        "unreadable": [],
    }
    assert cascada.fake.requests == []
