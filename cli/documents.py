"""Finds the documents that paths and patterns mean, and reads them."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.exits import CommandError, ExitCode

SUFFIXES = frozenset({".txt", ".md"})

# A document has at most 2,000,000 characters, of up to 4 bytes.
MAX_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """One file to index."""

    document_id: str
    """The path below the root that was given, with `/` on every system."""
    path: Path


class UnreadableError(Exception):
    """The file is no text document; the message says why."""


def find(places: Sequence[str]) -> list[DocumentFile]:
    """The documents of folders, files and patterns, each once, in the order of their ids.

    A folder gives every .txt and .md file in it and below, but none whose name begins with a dot.
    A file that is named, or matches a pattern, is taken whatever its suffix.

    Raises:
        CommandError: A place does not exist, nothing was found, or two files would share an id.
    """
    found: dict[str, DocumentFile] = {}
    for place in places:
        for file in _below(place):
            other = found.setdefault(file.document_id, file)
            if not other.path.samefile(file.path):
                raise CommandError(
                    f"{other.path} and {file.path} would both be the document "
                    f"{file.document_id!r}: index the folder that holds both, or use two "
                    "collections.",
                    ExitCode.USAGE,
                )
    if not found:
        raise CommandError(f"There is no .txt or .md file in {', '.join(places)}.", ExitCode.USAGE)
    return [found[document_id] for document_id in sorted(found)]


def read(file: DocumentFile) -> str:
    """The text of a document; raises UnreadableError. Blocks."""
    try:
        if file.path.stat().st_size > MAX_BYTES:
            raise UnreadableError("is too large: a document has at most 2,000,000 characters")
        return file.path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError("is not UTF-8 text: convert it, or leave it out") from None
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or 'unknown reason'}") from None


def _below(place: str) -> Iterator[DocumentFile]:
    path = Path(place)
    if path.is_dir():
        yield from _of(path, _walk(path))
    elif path.is_file():
        yield from _of(path.parent, [path])
    elif glob.has_magic(place):
        matches = map(Path, sorted(glob.glob(place, recursive=True)))  # noqa: PTH207 # a pattern may be absolute
        yield from _of(_fixed_part(path), filter(Path.is_file, matches))
    else:
        raise CommandError(f"There is no file or folder {place}.", ExitCode.USAGE)


def _of(root: Path, paths: Iterable[Path]) -> Iterator[DocumentFile]:
    for path in paths:
        yield DocumentFile(path.relative_to(root).as_posix(), path)


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before its first wildcard."""
    fixed = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed
