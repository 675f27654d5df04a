"""The golden files: one a message, with the JSON and the wire bytes of each of its samples.

The JSON is proto3's canonical form with sorted keys. The wire bytes are hex in lines of 32 bytes,
as deterministic serialisation writes them: joined, they are the whole message.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.contract.image import Contract
from tests.contract.samples import samples

FOLDER = Path(__file__).resolve().parent / "goldens"
_BYTES_A_LINE = 32


@dataclass(frozen=True, slots=True)
class Golden:
    """One sample as it was recorded."""

    json: dict[str, Any]
    """The proto JSON, parsed."""
    wire: bytes
    """The bytes on the wire."""


def path(message: str, folder: Path = FOLDER) -> Path:
    """Where the golden of a message is kept, by its full name."""
    return folder / f"{message}.json"


def read(message: str, folder: Path = FOLDER) -> dict[str, Golden]:
    """The recorded samples of a message by name; raises FileNotFoundError if there are none."""
    recorded = json.loads(path(message, folder).read_text(encoding="utf-8"))
    return {
        name: Golden(json=sample["json"], wire=bytes.fromhex("".join(sample["wire"])))
        for name, sample in recorded["samples"].items()
    }


def recorded_messages(folder: Path = FOLDER) -> list[str]:
    """The full names of the messages that have a golden, in alphabetical order."""
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir())


def render(message: type[Message]) -> str:
    """The text of a message's golden file."""
    recorded = {
        "message": message.DESCRIPTOR.full_name,
        "samples": {
            name: {"json": _sorted(to_json(sample)), "wire": _hex_lines(to_wire(sample))}
            for name, sample in samples(message).items()
        },
    }
    return json.dumps(recorded, indent=2, ensure_ascii=False) + "\n"


def to_wire(message: Message) -> bytes:
    """Serialise a message the one way that a golden can be compared with."""
    return message.SerializeToString(deterministic=True)


def to_json(message: Message) -> dict[str, Any]:
    """The canonical proto JSON of a message."""
    return json_format.MessageToDict(message)


def write_all(contract: Contract, folder: Path = FOLDER) -> list[str]:
    """Rewrite the goldens of a contract, remove those of others; return the names that changed."""
    changed = set[str]()
    for name in set(recorded_messages(folder)) - set(contract.messages()):
        path(name, folder).unlink()
        changed.add(name)
    for name in contract.messages():
        file, text = path(name, folder), render(contract.message(name))
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            changed.add(name)
    return sorted(changed)


def _sorted(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value, sort_keys=True))


def _hex_lines(wire: bytes) -> list[str]:
    return [
        wire[start : start + _BYTES_A_LINE].hex() for start in range(0, len(wire), _BYTES_A_LINE)
    ]
