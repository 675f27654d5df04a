"""`cascada index`: text files into a collection."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from cascada.common.v1 import error_reason_pb2
from cascada.query.v1 import document_pb2, query_service_pb2
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import documents, options, requests
from cli.client import connect
from cli.documents import DocumentFile, UnreadableError
from cli.exits import CommandError, ExitCode
from cli.messages import as_document
from cli.output import Output
from cli.running import run

SERVICE = "query"


@dataclass(slots=True)
class _Progress:
    """What has happened to the documents so far."""

    failures: list[dict[str, str]] = field(default_factory=list)
    results: int = 0
    summary: document_pb2.IndexSummary | None = None

    def fail(self, document_id: str, reason: str, detail: str) -> None:
        self.failures.append({"document_id": document_id, "reason": reason, "detail": detail})


def index(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|GLOB...",
            help="Folders, whose .txt and .md files are taken, files, or patterns in quotes.",
        ),
    ],
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", metavar="NAME", help="Where the documents go.")
    ],
    embedding_provider: options.EmbeddingProvider = None,
    embedding_model: options.EmbeddingModel = None,
    embedding_endpoint: options.EmbeddingEndpoint = None,
    embedding_dimensions: options.EmbeddingDimensions = None,
    embedding_api_key_env: options.EmbeddingKeyVariable = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(help="The most tokens of a passage, 16 to 400; 200 if left out.")
    ] = None,
    config_json: options.ConfigJson = None,
    tenant: options.Tenant = "",
    target: options.Target = None,
    as_json: options.Json = False,
) -> None:
    """Index text and Markdown files: cut into passages, embed, store.

    A document's id is its path below the folder that was given; indexing it again replaces it.
    Exit code 1 if any document failed. Needs no server, as ask.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        files = documents.find(places)
        chosen = requests.models(
            embedding=requests.ModelOptions(
                provider=embedding_provider,
                model=embedding_model,
                endpoint=embedding_endpoint,
                dimensions=embedding_dimensions,
                key=requests.key_of("--embedding-api-key-env", embedding_api_key_env, os.environ),
            ),
            config_json=config_json,
        )
        first = document_pb2.IndexOptions(
            context=requests.context(tenant),
            collection=collection,
            model_configuration=chosen.configuration,
            chunk_tokens=chunk_tokens,
        )
        progress = _Progress()
        try:
            async with connect(SERVICE, target, output, carries_key=chosen.carries_key) as client:
                await _index(QueryServiceStub(client.channel), first, files, progress, output)
        except CommandError as error:
            raise _with_progress(error, progress, len(files)) from None
        _show(collection, progress, output)
        return ExitCode.FAILED if progress.failures else ExitCode.OK

    run(output, work())


async def _index(
    stub: QueryServiceStub,
    first: document_pb2.IndexOptions,
    files: Sequence[DocumentFile],
    progress: _Progress,
    output: Output,
) -> None:
    bar = Progress(
        TextColumn("Indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=output.progress_console,
        transient=True,
        disable=not output.interactive,
    )
    # A write waits until the service takes it, so that no more than a few documents are in memory.
    call = stub.IndexDocuments(_messages(first, files, progress))
    with bar:
        task = bar.add_task("", total=len(files))
        try:
            async for response in call:
                if response.HasField("summary"):
                    progress.summary = response.summary
                    continue
                result = response.result
                progress.results += 1
                if result.outcome == document_pb2.DOCUMENT_OUTCOME_FAILED:
                    reason = error_reason_pb2.ErrorReason.Name(result.reason)
                    progress.fail(
                        result.document_id, reason.removeprefix("ERROR_REASON_"), result.detail
                    )
                bar.update(task, completed=progress.results)
        finally:
            call.cancel()


async def _messages(
    first: document_pb2.IndexOptions, files: Sequence[DocumentFile], progress: _Progress
) -> AsyncIterator[query_service_pb2.IndexDocumentsRequest]:
    yield query_service_pb2.IndexDocumentsRequest(options=first)
    for file in files:
        try:
            text = await asyncio.to_thread(documents.read, file)
        except UnreadableError as error:
            progress.fail(file.document_id, "UNREADABLE", str(error))
            continue
        document = document_pb2.Document(
            document_id=file.document_id, text=text, source=str(file.path)
        )
        yield query_service_pb2.IndexDocumentsRequest(document=document)


def _with_progress(error: CommandError, progress: _Progress, total: int) -> CommandError:
    """The same failure, and how far indexing came before it."""
    if not progress.results:
        return error
    return CommandError(
        f"{error.message} {progress.results} of {total} documents were dealt with before; run the "
        "command again: what is stored is not embedded again.",
        error.exit_code,
        details={**error.details, "documents_done": progress.results},
        notes=error.notes,
    )


def _show(collection: str, progress: _Progress, output: Output) -> None:
    summary = progress.summary
    if summary is None:
        raise CommandError(
            "The service ended the stream without a summary: run the command again.",
            details={"code": "UNAVAILABLE", "reason": "STREAM_INTERRUPTED"},
        )
    counts = {
        "indexed": summary.indexed,
        "unchanged": summary.unchanged,
        "failed": len(progress.failures),
        "chunks": summary.chunks,
    }
    if output.as_json:
        document: dict[str, Any] = {"collection": collection, **counts}
        document["failures"] = progress.failures
        document["usage"] = as_document(summary.usage)
        document["configuration_trace"] = as_document(summary.configuration_trace)
        output.document(document)
        return
    for failure in progress.failures:
        output.line(f"failed  {failure['document_id']}: {failure['detail']} ({failure['reason']})")
    output.line(
        f"{collection}: {counts['indexed']} indexed, {counts['unchanged']} unchanged, "
        f"{counts['failed']} failed, {counts['chunks']} passages written"
    )
