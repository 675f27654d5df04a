"""The messages of a real answer, kept in files so that the floors send exactly the same."""

from collections.abc import Sequence
from pathlib import Path

from cascada.query.v1 import query_service_pb2 as pb

_ANSWER = "answer.bin"
_EVENTS = "events"


def save(folder: Path, answer: pb.QueryResponse, events: Sequence[pb.StreamQueryResponse]) -> None:
    """Keep what a service has answered."""
    (folder / _ANSWER).write_bytes(answer.SerializeToString())
    (folder / _EVENTS).mkdir()
    for number, event in enumerate(events):
        (folder / _EVENTS / f"{number:06}.bin").write_bytes(event.SerializeToString())


def load_answer(folder: Path) -> pb.QueryResponse:
    """The answer in one piece."""
    return pb.QueryResponse.FromString((folder / _ANSWER).read_bytes())


def load_events(folder: Path) -> list[pb.StreamQueryResponse]:
    """The events of the stream, in order."""
    files = sorted((folder / _EVENTS).iterdir())
    return [pb.StreamQueryResponse.FromString(file.read_bytes()) for file in files]
