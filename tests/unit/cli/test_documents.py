import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import documents
from cli.documents import DocumentFile, Found, UnreadableError
from cli.exits import CommandError, ExitCode


def _write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name, encoding="utf-8")


def _find(*places: Path | str) -> Found:
    return documents.find([str(place) for place in places])


def _ids(*places: Path | str) -> list[str]:
    return [file.document_id for file in _find(*places).files]


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nobody may look into, not even root."""
    folder = tmp_path / "b"
    folder.mkdir()
    scan = os.scandir

    def scandir(path: str) -> Iterator[Any]:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return folder


def test_a_folder_gives_its_documents_by_their_path_below_it(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "b/c.TXT", "d.json", ".hidden.md", ".git/e.md")
    _write(tmp_path, "f.markdown", "g.html", "h.htm", "i.PDF", "j.rst")
    assert _ids(tmp_path) == ["a.md", "b/c.TXT", "f.markdown", "g.html", "h.htm", "i.PDF"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    _write(tmp_path, "a.rst", ".b.md")
    assert _ids(tmp_path / "a.rst", tmp_path / ".b.md") == [".b.md", "a.rst"]


def test_a_pattern_gives_paths_below_its_fixed_part(tmp_path: Path) -> None:
    _write(tmp_path, "docs/a.md", "docs/deep/b.md", "docs/c.txt")
    assert _ids(f"{tmp_path}/docs/**/*.md") == ["a.md", "deep/b.md"]


def test_a_relative_pattern_is_taken_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "docs/a.md")
    monkeypatch.chdir(tmp_path)
    assert _ids("*/*.md") == ["docs/a.md"]


def test_a_file_that_two_places_give_is_taken_once(tmp_path: Path) -> None:
    _write(tmp_path, "a.md")
    assert _ids(tmp_path, tmp_path / "a.md") == ["a.md"]


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "x/a.md", "y/a.md")
    with pytest.raises(CommandError, match="both be the document") as caught:
        _ids(tmp_path / "x", tmp_path / "y")
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("place", ["nowhere", "nowhere/a.md"])
def test_a_place_that_is_not_there_is_a_usage_error(place: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no file or folder") as caught:
        _ids(tmp_path / place)
    assert caught.value.exit_code is ExitCode.USAGE


def test_the_source_is_the_same_whatever_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "docs/a.md")
    monkeypatch.chdir(tmp_path)
    below = _find("docs").files[0].source
    monkeypatch.chdir(tmp_path / "docs")
    assert {below, _find("../docs/.").files[0].source} == {str(tmp_path / "docs/a.md")}


def test_a_link_to_a_folder_is_not_followed_and_one_to_a_file_is(tmp_path: Path) -> None:
    _write(tmp_path, "a/x.md")
    (tmp_path / "a/loop").symlink_to(tmp_path / "a")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self.md").symlink_to(tmp_path / "a/self.md")
    (tmp_path / "a/nowhere.md").symlink_to(tmp_path / "none.md")
    (tmp_path / "a/y.md").symlink_to(tmp_path / "a/x.md")
    found = _find(tmp_path)
    assert [file.document_id for file in found.files] == ["a/x.md", "a/y.md"]
    assert found.unreadable == []


def test_a_link_that_is_named_is_a_folder_as_any_other(tmp_path: Path) -> None:
    _write(tmp_path, "a/x.md")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    [file] = _find(tmp_path / "b").files
    assert (file.document_id, file.source) == ("x.md", str(tmp_path / "b/x.md"))


def test_a_pipe_is_no_document(tmp_path: Path) -> None:
    _write(tmp_path, "a.md")
    os.mkfifo(tmp_path / "b.md")
    assert _ids(tmp_path) == ["a.md"]


def test_a_folder_that_can_not_be_looked_into_is_told_of(tmp_path: Path, locked: Path) -> None:
    _write(tmp_path, "a.md", "c/d.md")
    found = _find(tmp_path, tmp_path / "c/d.md", tmp_path / "c")
    assert [file.document_id for file in found.files] == ["a.md", "c/d.md", "d.md"]
    [unreadable] = found.unreadable
    assert (unreadable.place, unreadable.reason) == (
        str(locked),
        "can't be read: Permission denied",
    )
    assert found.folders == {str(tmp_path): [unreadable], str(tmp_path / "c"): []}


def test_a_file_that_can_not_be_looked_at_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "a.md", "b.md")

    def is_file(path: Path) -> bool:
        if path.name == "a.md":
            raise PermissionError(13, "Permission denied", str(path))
        return True

    monkeypatch.setattr(Path, "is_file", is_file)
    found = _find(tmp_path)
    assert [file.document_id for file in found.files] == ["b.md"]
    assert [each.place for each in found.unreadable] == [str(tmp_path / "a.md")]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.txt", "text/plain"),
        ("a.MD", "text/markdown"),
        ("a.markdown", "text/markdown"),
        ("a.html", "text/html"),
        ("a.htm", "text/html"),
        ("a.pdf", "application/pdf"),
        ("a.rst", "text/plain"),
        ("a", "text/plain"),
    ],
)
def test_a_document_is_sent_as_it_is_and_as_what_its_suffix_says(
    name: str, media_type: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(b"\xff\x00x")
    document = documents.read(DocumentFile("id", file))
    assert (document.document_id, document.content, document.text) == ("id", b"\xff\x00x", "")
    assert (document.media_type, document.source) == (media_type, str(file))


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="can't be read"):
        documents.read(DocumentFile("a.txt", tmp_path / "a.txt"))


def test_an_empty_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(UnreadableError, match="is empty: leave it out"):
        documents.read(DocumentFile("a.txt", tmp_path / "a.txt"))


def test_a_file_of_more_than_32_mib_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * (32 << 20))
    assert len(documents.read(DocumentFile("a.txt", file)).content) == 32 << 20
    with file.open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(UnreadableError, match="larger than 32 MiB: split it"):
        documents.read(DocumentFile("a.txt", file))
