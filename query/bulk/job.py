"""The nouns of a bulk indexing: what workers are told, and what they answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from cascada.query.v1 import document_pb2

from config_core.convert_provenance import incoming
from config_core.resolve import error_of
from query.indexing import IndexOptions
from query.wire_index_options import index_options_from


class Source(Protocol):
    """Where a document is read from; it travels to the workers."""

    @property
    def document_id(self) -> str:
        """The document's id."""


SourceT = TypeVar("SourceT", bound=Source)
SourceT_contra = TypeVar("SourceT_contra", bound=Source, contravariant=True)


class UnreadableError(Exception):
    """A source can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Job(Generic[SourceT]):
    """What every worker is told. It passes through the cluster's memory: nothing is secret."""

    options: bytes
    """The IndexOptions message, without a key."""
    target: str
    """Where the embedding service is."""
    store: str
    """Which store is meant, as `place_of` tells it."""
    folder: Path
    """What relative paths start from."""
    read: Callable[[SourceT], document_pb2.Document]
    """Reads one document; UnreadableError. The workers have to be able to import it."""

    def checked_options(self) -> IndexOptions:
        """The options as they are used; InvalidArgumentError, InvalidConfigurationError."""
        message = document_pb2.IndexOptions.FromString(self.options)
        found = incoming(message.model_configuration, wire_provenance=None, trusted=False)
        checked = index_options_from(message, found, None)
        if found.violations:
            raise error_of(found.violations)
        return checked


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker did with some sources, as messages: what has no secrets and can travel."""

    results: tuple[bytes, ...] = ()
    """An IndexDocumentsResponse each."""
    summary: bytes = b""
    """The IndexSummary."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Documents that could not be read, with the reason."""
    error: bytes = b""
    """The status of the error that ended it before its end; empty for none."""


class Worker(Protocol[SourceT_contra]):
    """A worker as its engine sees it. Every method raises WorkerDiedError."""

    async def open(self) -> str:
        """Open store and channel; what stands in the way, "" for nothing."""

    async def index(self, sources: Sequence[SourceT_contra]) -> Report:
        """Read, chunk, embed and store documents."""

    async def close(self) -> None:
        """Let it end what it has begun."""

    def kill(self) -> None:
        """End it at once."""


class Cluster(Protocol[SourceT_contra]):
    """Where workers run."""

    @property
    def size(self) -> int:
        """How many workers can run at a time."""

    def start_worker(self) -> Worker[SourceT_contra]:
        """Start one more worker."""


class BulkError(Exception):
    """The bulk indexing can't go on. One sentence that says what to do."""


class WorkerDiedError(Exception):
    """A worker is gone, or can't be reached any more."""


def place_of(store_url: str) -> str:
    """A store's URL without user and password: enough to tell one store from another."""
    parts = urlsplit(store_url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
