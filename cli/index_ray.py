"""`cascada index --engine ray`: the same answers as from the service, out of workers on Ray."""

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import grpc
from cascada.query.v1 import document_pb2, query_service_pb2

from cli import documents, failures
from cli.client import CONNECT_SECONDS, is_reachable
from cli.documents import DocumentFile
from cli.exits import CommandError, ExitCode
from cli.output import Output
from config_core.errors import CascadaError
from config_core.settings import Settings
from query.bulk.engine import BulkEngine, Unreadable
from query.bulk.job import BulkError, Job, UnreadableError, place_of
from query.bulk.ray_settings import ray_variables
from query.wire_documents import in_options
from service_core.outgoing import Outgoing

Responses = AsyncGenerator[query_service_pb2.IndexDocumentsResponse, None]

_CLUSTER_SETTINGS = ("store", "embedding_target")


@asynccontextmanager
async def ray_engine(
    options: document_pb2.IndexOptions,
    files: Sequence[DocumentFile],
    unreadable: Callable[[str, str], None],
    *,
    address: str,
    carries_key: bool,
    output: Output,
) -> AsyncIterator[Responses]:
    """Gives what IndexDocuments would answer; the cluster, if it is our own, ends with the block.

    Args:
        options: What holds for all documents.
        files: The documents.
        unreadable: Is told id and reason of each file that can't be read.
        address: Of a Ray cluster that is there; "" for one of our own on this machine.
        carries_key: Whether a raw key is among the options.
        output: Where to tell what happens.

    Raises:
        CommandError: It can't begin, or ended before its end.
        ConfigurationFileError: The environment is invalid.
    """
    settings = Settings.read(os.environ)
    _check(settings, address, carries_key=carries_key)
    job = Job(
        options=options.SerializeToString(),
        target=settings.target_of("embedding"),
        store=place_of(settings.store_url),
        folder=Path.cwd(),
        read=read_document,
    )
    async with AsyncExitStack() as stack:
        try:
            with in_options():
                job.checked_options()
            await _check_embedding(settings, job.target)
            await _check_cluster(address)
            # Most of its settings Ray reads while it is imported, which takes its time besides.
            os.environ.update(ray_variables(address))
            module = importlib.import_module("query.bulk.ray_cluster")
            with output.working("Starting Ray…"):
                cluster = await stack.enter_async_context(module.RayCluster(job, address))
            engine = BulkEngine[DocumentFile](cluster, files)
            yield await stack.enter_async_context(aclosing(_responses(engine, unreadable)))
        except CascadaError as error:
            raise failures.of_error(error) from None
        except BulkError as error:
            raise CommandError(str(error)) from None


def read_document(file: DocumentFile) -> document_pb2.Document:
    """A worker's way to a document; UnreadableError. Blocks."""
    try:
        return documents.read(file)
    except documents.UnreadableError as error:
        raise UnreadableError(str(error)) from None


async def _responses(
    engine: BulkEngine[DocumentFile], unreadable: Callable[[str, str], None]
) -> Responses:
    async with aclosing(engine.run()) as events:
        async for event in events:
            if isinstance(event, Unreadable):
                unreadable(event.document_id, event.detail)
            else:
                yield event


def _check(settings: Settings, address: str, *, carries_key: bool) -> None:
    if find_spec("ray") is None:
        raise CommandError(
            "--engine ray needs Ray: pip install 'cascada[ray]', or leave --engine out.",
            ExitCode.USAGE,
        )
    if carries_key:
        raise CommandError(
            "--engine ray takes no key of your own, which would lie open in Ray's memory: register "
            "it as a secret and name it (embedding_secret_ref), or leave --engine out.",
            ExitCode.REFUSED,
        )
    missing = [
        f"CASCADA_{name.upper()}" for name in _CLUSTER_SETTINGS if not getattr(settings, name)
    ]
    if address and missing:
        raise CommandError(
            f"--ray-address needs {' and '.join(missing)}, with values that hold on every machine "
            "of the cluster, and are set there as well.",
            ExitCode.USAGE,
        )


async def _check_cluster(address: str) -> None:
    """Ray itself would try for minutes. What is no host and port is left to it."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdecimal():
        return
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError, OverflowError):
        raise CommandError(
            f"No Ray cluster can be reached at {address}: check the address, or leave "
            "--ray-address out and let the command start one on this machine.",
            ExitCode.UNREACHABLE,
        ) from None
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _check_embedding(settings: Settings, target: str) -> None:
    async with Outgoing.of_service(settings).channel(target) as channel:
        if not await is_reachable(channel):
            raise CommandError(
                f"--engine ray embeds through the embedding service, which can't be reached at "
                f"{target}: start it with `cascada serve embedding`, or set "
                "CASCADA_EMBEDDING_TARGET.",
                ExitCode.UNREACHABLE,
                details={
                    "code": grpc.StatusCode.UNAVAILABLE.name,
                    "metadata": {"service": "embedding"},
                },
            )
