"""Secrets that are recognised wherever they turn up, even in part."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

# No hex digest or decimal number can look like a part of one, nor does the scrubber know its shape.
_LETTERS = "ghjkmnpqrtvwxyz"
_LENGTH = 40
_PART = 10


@dataclass
class Canaries:
    """The secrets by name, and everything that came out of the services."""

    secrets: dict[str, str] = field(default_factory=dict)
    _seen: list[tuple[str, bytes]] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        """The secret of this name; made when it is first asked for."""
        if name not in self.secrets:
            self.secrets[name] = "".join(random.choices(_LETTERS, k=_LENGTH))  # noqa: S311 # they guard nothing
        return self.secrets[name]

    def name_of(self, secret: str) -> str:
        """The name of a secret."""
        return next(name for name, value in self.secrets.items() if value == secret)

    def saw(self, where: str, what: Message | BaseException | bytes | str) -> None:
        """Keep something that came out, in every form that it may be looked at."""
        for form in _forms(what):
            self._seen.append((where, form))

    def saw_files(self, folder: Path) -> int:
        """Keep every file of a folder; how many there were."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        for path in files:
            self.saw(str(path.relative_to(folder)), path.read_bytes())
        return len(files)

    def leaks(self) -> list[str]:
        """Where which secret was found."""
        return sorted({f"{name} in {where}" for name, where in self._found()})

    def _found(self) -> Iterator[tuple[str, str]]:
        parts = {
            secret[start : start + _PART].encode(): name
            for name, secret in self.secrets.items()
            for start in range(0, _LENGTH, _PART)
        }
        pattern = re.compile(b"|".join(parts))
        for where, text in self._seen:
            for match in pattern.finditer(text):
                yield parts[match[0]], where


def _forms(what: Message | BaseException | bytes | str) -> Iterator[bytes]:
    if isinstance(what, bytes):
        yield what
    elif isinstance(what, str):
        yield what.encode()
    elif isinstance(what, Message):
        yield what.SerializeToString()
        yield str(what).encode()
        yield MessageToJson(what).encode()
    else:
        yield f"{what} {what!r}".encode()
        if isinstance(what, grpc.aio.AioRpcError):
            yield f"{what.details()} {what.debug_error_string()}".encode()
            for name, value in (*what.initial_metadata(), *what.trailing_metadata()):
                yield name.encode()
                yield value if isinstance(value, bytes) else json.dumps(value).encode()
