"""`cascada reindex`: a collection into another embedding space."""

import os
from dataclasses import dataclass
from typing import Annotated

import typer
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import options, requests
from cli.client import connect
from cli.exits import CommandError, ExitCode
from cli.messages import as_document
from cli.output import Output
from cli.running import run
from cli.trace import show_trace
from config_core.convert_effective import space_from_wire

SERVICE = "query"


@dataclass(slots=True)
class _Progress:
    """How far it got, and the summary once it is there."""

    documents: int = 0
    total: int = 0
    summary: pb.ReindexSummary | None = None


def reindex(
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="The collection to embed anew.")
    ],
    *,
    embedding_provider: options.EmbeddingProvider = None,
    embedding_model: options.EmbeddingModel = None,
    embedding_endpoint: options.EmbeddingEndpoint = None,
    embedding_dimensions: options.EmbeddingDimensions = None,
    embedding_api_key_env: options.EmbeddingKeyVariable = None,
    config_json: options.ConfigJson = None,
    tenant: options.Tenant = "",
    target: options.Target = None,
    trace: Annotated[bool, typer.Option(help="Show which configuration ran, hop by hop.")] = False,
    as_json: options.Json = False,
) -> None:
    """Embed the stored passages of a collection anew, in another embedding space.

    The collection answers searches and takes documents all the while, and switches to the new
    space at once. A run that broke off is continued by the next. Needs no server, as ask.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
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
        request = pb.ReindexCollectionRequest(
            context=requests.context(tenant),
            collection=collection,
            model_configuration=chosen.configuration,
        )
        progress = _Progress()
        try:
            async with connect(SERVICE, target, output, carries_key=chosen.carries_key) as client:
                await _reindex(QueryServiceStub(client.channel), request, progress, output)
        except CommandError as error:
            raise _with_progress(error, progress) from None
        _show(collection, progress, output, trace=trace)
        return ExitCode.OK

    run(output, work())


async def _reindex(
    stub: QueryServiceStub,
    request: pb.ReindexCollectionRequest,
    progress: _Progress,
    output: Output,
) -> None:
    bar = Progress(
        TextColumn("Reindexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=output.progress_console,
        transient=True,
        disable=not output.interactive,
    )
    call = stub.ReindexCollection(request)
    with bar:
        task = bar.add_task("", total=None)
        try:
            async for response in call:
                if response.HasField("summary"):
                    progress.summary = response.summary
                    continue
                progress.documents = response.progress.documents
                progress.total = response.progress.total_documents
                bar.update(task, completed=progress.documents, total=progress.total)
        finally:
            call.cancel()


def _with_progress(error: CommandError, progress: _Progress) -> CommandError:
    """The same failure, and how far it got before it."""
    if not progress.documents:
        return error
    return CommandError(
        f"{error.message} {progress.documents} of {progress.total} documents are in the new space, "
        "and the old one serves: run the command again to continue.",
        error.exit_code,
        details={**error.details, "documents_done": progress.documents},
        notes=error.notes,
    )


def _show(collection: str, progress: _Progress, output: Output, *, trace: bool) -> None:
    summary = progress.summary
    if summary is None:
        raise CommandError(
            "The service ended the stream without a summary: run the command again.",
            details={"code": "UNAVAILABLE", "reason": "STREAM_INTERRUPTED"},
        )
    if output.as_json:
        output.document(
            {
                "collection": collection,
                "documents": summary.documents,
                "chunks": summary.chunks,
                "previous_space": as_document(summary.previous_space),
                "embedding_space": as_document(summary.embedding_space),
                "usage": as_document(summary.usage),
                "configuration_trace": as_document(summary.configuration_trace),
            }
        )
        return
    before = space_from_wire(summary.previous_space)
    now = space_from_wire(summary.embedding_space)
    if before == now:
        output.line(f"{collection}: lives in the space [{now}] already, nothing is to be done")
    else:
        output.line(
            f"{collection}: {summary.documents} documents, {summary.chunks} passages embedded "
            f"anew; from [{before}] to [{now}]"
        )
    if trace:
        output.line()
        show_trace(output, summary.configuration_trace)
