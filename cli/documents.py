"""Finds the documents that paths and patterns mean, and reads them."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from cascada.query.v1 import document_pb2

from cli.exits import CommandError, ExitCode

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".txt": "text/plain",
        ".md": "text/markdown",
        ".markdown": "text/markdown",
        ".html": "text/html",
        ".htm": "text/html",
        ".pdf": "application/pdf",
    }
)
"""The files that folders give, and what they are. Any other that is named is plain text."""
_OTHER = "text/plain"
MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """One file to index."""

    document_id: str
    """The path below the root that was given, with `/` on every system."""
    path: Path

    @property
    def source(self) -> str:
        """Where the file is, whatever the working folder."""
        return os.path.abspath(self.path)  # noqa: PTH100 # resolve would follow links


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or folder that can't be looked at, and why."""

    place: str
    reason: str


@dataclass(slots=True)
class Found:
    """What paths and patterns have given."""

    files: Sequence[DocumentFile] = ()
    """Each once, in the order of their ids."""
    folders: dict[str, list[Unreadable]] = field(default_factory=dict)
    """The folders that were given, as absolute paths, with what could not be looked at in them."""

    @property
    def unreadable(self) -> list[Unreadable]:
        """What could not be looked at, each once."""
        return list(dict.fromkeys(each for folder in self.folders.values() for each in folder))


class UnreadableError(Exception):
    """The file can't be read; the message says why."""


def find(places: Sequence[str]) -> Found:
    """The documents of folders, files and patterns.

    A folder gives every file in it and below whose suffix is one of MEDIA_TYPES, but none whose
    name begins with a dot, nor what is in such a folder; a link to a folder is not followed. A file
    that is named, or matches a pattern, is taken whatever its suffix.

    Raises:
        CommandError: A place does not exist, or two files would share an id.
    """
    found = Found()
    by_id: dict[str, DocumentFile] = {}
    for place in places:
        for file in _below(place, found):
            other = by_id.setdefault(file.document_id, file)
            if other.source != file.source:
                raise CommandError(
                    f"{other.path} and {file.path} would both be the document "
                    f"{file.document_id!r}: index the folder that holds both, or use two "
                    "collections.",
                    ExitCode.USAGE,
                )
    found.files = [by_id[document_id] for document_id in sorted(by_id)]
    return found


def read(file: DocumentFile) -> document_pb2.Document:
    """The document as it is sent; raises UnreadableError. Blocks."""
    try:
        with file.path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"can't be read: {_why(error)}") from None
    if not content:
        raise UnreadableError("is empty: leave it out")
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"is larger than {MAX_BYTES >> 20} MiB: split it")
    return document_pb2.Document(
        document_id=file.document_id,
        content=content,
        media_type=MEDIA_TYPES.get(file.path.suffix.lower(), _OTHER),
        source=file.source,
    )


def _below(place: str, found: Found) -> Iterator[DocumentFile]:
    path = Path(place)
    if path.is_dir():
        unreadable = found.folders.setdefault(os.path.abspath(path), [])  # noqa: PTH100
        yield from _of(path, _walk(path, unreadable))
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


def _walk(root: Path, unreadable: list[Unreadable]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=partial(_note, unreadable)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in MEDIA_TYPES:
                continue
            try:
                if path.is_file():  # else a link that leads nowhere, a pipe or the like
                    yield path
            except OSError as error:
                _note(unreadable, error)


def _note(unreadable: list[Unreadable], error: OSError) -> None:
    unreadable.append(Unreadable(str(error.filename), f"can't be read: {_why(error)}"))


def _why(error: OSError) -> str:
    return error.strerror or "unknown reason"


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before its first wildcard."""
    fixed = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed
