from pathlib import Path

import pytest

from cli import documents
from cli.documents import DocumentFile, UnreadableError
from cli.exits import CommandError, ExitCode


def _write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name, encoding="utf-8")


def _ids(*places: Path | str) -> list[str]:
    return [file.document_id for file in documents.find([str(place) for place in places])]


def test_a_folder_gives_its_texts_by_their_path_below_it(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "b/c.TXT", "d.json", ".hidden.md", ".git/e.md")
    assert _ids(tmp_path) == ["a.md", "b/c.TXT"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    _write(tmp_path, "a.rst")
    assert _ids(tmp_path / "a.rst") == ["a.rst"]


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


@pytest.mark.parametrize("place", ["nowhere", "*.md", "."])
def test_nothing_to_index_is_a_usage_error(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError) as caught:
        _ids(place)
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffniño".encode())
    assert documents.read(DocumentFile("a.txt", file)) == "niño"


def test_a_file_that_is_not_utf8_is_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("niño".encode("latin-1"))
    with pytest.raises(UnreadableError, match="UTF-8"):
        documents.read(DocumentFile("a.txt", file))


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="can't be read"):
        documents.read(DocumentFile("a.txt", tmp_path / "a.txt"))


def test_a_huge_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "a.txt")
    monkeypatch.setattr(documents, "MAX_BYTES", 2)
    with pytest.raises(UnreadableError, match="too large"):
        documents.read(DocumentFile("a.txt", tmp_path / "a.txt"))
