import json
import os
import pickle
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import pytest
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb

from cli.documents import DocumentFile
from config_core.errors import Reason, RemoteError
from query.bulk.job import BulkError, Job, Report, UnreadableError
from service_core.status import to_status
from tests.unit.cli.fake_services import CommandLine

RAY = ("--engine", "ray")


@dataclass
class _Cluster:
    """Stands for Ray: workers in this process, which read and store nothing."""

    job: Job[DocumentFile]
    address: str
    size: int = 1
    error: ClassVar[RemoteError | BulkError | None] = None
    began: ClassVar[list["_Cluster"]] = []
    read: list[document_pb2.Document] = field(default_factory=list)
    ended: bool = False

    async def __aenter__(self) -> Self:
        if isinstance(self.error, BulkError):
            raise self.error
        self.began.append(self)
        self.job = pickle.loads(pickle.dumps(self.job))  # noqa: S301 # as it travels
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ended = True

    def start_worker(self) -> "_Cluster":
        return self

    async def open(self) -> str:
        return ""

    async def close(self) -> None:
        pass

    def kill(self) -> None:
        pass

    async def index(self, sources: Sequence[DocumentFile]) -> Report:
        results: list[bytes] = []
        unreadable: list[tuple[str, str]] = []
        for source in sources:
            try:
                self.read.append(self.job.read(source))
            except UnreadableError as error:
                unreadable.append((source.document_id, str(error)))
                continue
            result = document_pb2.DocumentResult(
                document_id=source.document_id, outcome=document_pb2.DOCUMENT_OUTCOME_INDEXED
            )
            results.append(pb.IndexDocumentsResponse(result=result).SerializeToString())
        summary = document_pb2.IndexSummary(indexed=len(results), chunks=len(results))
        status = to_status(self.error).SerializeToString() if self.error else b""  # type: ignore[arg-type] # no BulkError gets here
        return Report(tuple(results), summary.SerializeToString(), tuple(unreadable), status)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, cascada: CommandLine) -> type[_Cluster]:
    """Ray, which is not started, and an embedding service that can be reached."""
    module: Any = ModuleType("query.bulk.ray_cluster")
    module.RayCluster = _Cluster
    monkeypatch.setitem(sys.modules, "query.bulk.ray_cluster", module)
    monkeypatch.setattr(_Cluster, "error", None)
    monkeypatch.setattr(_Cluster, "began", [])
    monkeypatch.setenv("CASCADA_EMBEDDING_TARGET", cascada.target)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    return _Cluster


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def index(cascada: CommandLine, *arguments: str) -> Any:
    return cascada.bare("index", ".", "-c", "c", *RAY, *arguments)


def test_workers_read_the_files_and_the_result_is_shown_as_ever(
    cascada: CommandLine, ray: type[_Cluster], folder: Path
) -> None:
    result = index(cascada, "--tenant", "t", "--chunk-tokens", "50")
    assert result.exit_code == 0, result.output
    assert "c: 2 indexed, 0 unchanged, 0 failed, 2 passages written" in result.stdout
    [cluster] = ray.began
    options = document_pb2.IndexOptions.FromString(cluster.job.options)
    assert (options.collection, options.context.tenant_id, options.chunk_tokens) == ("c", "t", 50)
    assert [document.document_id for document in cluster.read] == ["a.md", "b.md"]
    assert cluster.read[0].content == b"text of a.md"
    assert cluster.job.folder == folder
    assert cluster.job.target == cascada.target
    assert cluster.ended


def test_a_file_that_can_not_be_read_fails_alone(
    cascada: CommandLine, ray: type[_Cluster], folder: Path
) -> None:
    (folder / "c.md").write_bytes(b"")
    result = index(cascada, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["indexed"], document["failed"]) == (2, 1)
    assert [failure["document_id"] for failure in document["failures"]] == ["c.md"]
    assert ray.began[0].ended


def test_a_failure_of_the_workers_is_typed_and_says_how_far_it_came(
    cascada: CommandLine, ray: type[_Cluster], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder
    failure = RemoteError(Reason.CREDENTIAL_MISSING, "Set a key.")
    monkeypatch.setattr(ray, "error", failure)
    result = index(cascada)
    assert result.exit_code == 5
    assert "Set a key. 1 of 2 documents were dealt with before" in result.stderr
    assert ray.began[0].ended


def test_a_cluster_that_does_not_start_is_one_sentence(
    cascada: CommandLine, ray: type[_Cluster], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder
    monkeypatch.setattr(ray, "error", BulkError("Ray does not start."))
    result = index(cascada)
    assert (result.exit_code, result.stderr) == (1, "error: Ray does not start.\n")


def test_a_cluster_of_our_own_keeps_its_token_to_itself_and_tells_nobody(
    cascada: CommandLine, ray: type[_Cluster], folder: Path
) -> None:
    assert folder
    result = index(cascada)
    assert result.exit_code == 0
    [cluster] = ray.began
    assert cluster.address == ""
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_cluster_that_is_there_is_named_and_keeps_its_settings(
    cascada: CommandLine, ray: type[_Cluster], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_STORE", f"sqlite:///{folder}/store.db")
    result = index(cascada, "--ray-address", cascada.target)
    assert result.exit_code == 0
    assert ray.began[0].address == cascada.target
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (("--embedding-provider", "openai", "--embedding-api-key-env", "KEY"), 4, "no key of your"),
        (("--ray-address", "127.0.0.1:6379"), 2, "--ray-address needs CASCADA_STORE"),
        (("--prune",), 2, "--prune is done by the query service"),
        (("--target", "127.0.0.1:1"), 2, "leave --target out"),
        (("--embedding-dimensions", "0"), 2, "options.model_configuration.embedding_dimensions"),
        (("-c", " c"), 2, "options.collection"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_started(
    cascada: CommandLine,
    ray: type[_Cluster],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    exit_code: int,
    sentence: str,
) -> None:
    assert folder
    monkeypatch.setenv("KEY", "sk-canary-1")
    result = index(cascada, *arguments)
    assert (result.exit_code, ray.began) == (exit_code, [])
    assert sentence in result.stderr
    assert "sk-canary-1" not in result.output


def test_an_address_belongs_to_ray_alone(cascada: CommandLine, folder: Path) -> None:
    assert folder
    result = cascada("index", ".", "-c", "c", "--ray-address", "127.0.0.1:6379")
    assert result.exit_code == 2


def test_without_ray_the_extra_is_named(
    cascada: CommandLine, ray: type[_Cluster], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder
    monkeypatch.setattr("cli.index_ray.find_spec", lambda _: None)
    result = index(cascada)
    assert (result.exit_code, ray.began) == (2, [])
    assert "pip install 'cascada[ray]'" in result.stderr


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_without_an_embedding_service_it_says_how_to_start_one(
    cascada: CommandLine, ray: type[_Cluster], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder
    monkeypatch.setenv("CASCADA_EMBEDDING_TARGET", f"127.0.0.1:{_closed_port()}")
    result = index(cascada)
    assert (result.exit_code, ray.began) == (3, [])
    assert "cascada serve embedding" in result.stderr


def test_a_cluster_that_is_not_there_is_told_at_once(
    cascada: CommandLine, ray: type[_Cluster], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_STORE", f"sqlite:///{folder}/store.db")
    result = index(cascada, "--ray-address", f"127.0.0.1:{_closed_port()}")
    assert (result.exit_code, ray.began) == (3, [])
    assert "No Ray cluster can be reached" in result.stderr
