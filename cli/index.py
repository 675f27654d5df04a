"""`cascada index`: files into a collection."""

import asyncio
import importlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from cascada.query.v1 import document_pb2, query_service_pb2
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from cli import documents, options, requests
from cli.client import connect
from cli.documents import DocumentFile, Found, UnreadableError
from cli.exits import CommandError, ExitCode
from cli.index_progress import IndexProgress, progress_bar
from cli.output import Output
from cli.pruning import Pruning, check_folders
from cli.running import run

SERVICE = "query"


class Engine(StrEnum):
    """Who reads, embeds and stores."""

    SERVICE = "service"
    RAY = "ray"


def index(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|GLOB...",
            help="Folders, whose text, Markdown, HTML and PDF files are taken, files, or patterns "
            "in quotes.",
        ),
    ],
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", metavar="NAME", help="Where the documents go.")
    ],
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Remove the documents whose files have vanished from the folders given.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list what would be indexed, and what removed."),
    ] = False,
    embedding_provider: options.EmbeddingProvider = None,
    embedding_model: options.EmbeddingModel = None,
    embedding_endpoint: options.EmbeddingEndpoint = None,
    embedding_dimensions: options.EmbeddingDimensions = None,
    embedding_api_key_env: options.EmbeddingKeyVariable = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(
            help="The most tokens of a passage, from 16 to what the embedding model takes; about "
            "half of that, and at most 400, if left out."
        ),
    ] = None,
    config_json: options.ConfigJson = None,
    tenant: options.Tenant = "",
    target: options.Target = None,
    engine: Annotated[
        Engine,
        typer.Option(help="Who does it: the query service, or workers on Ray for very many files."),
    ] = Engine.SERVICE,
    ray_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="A Ray cluster that is there; without it one is started here, for the command.",
        ),
    ] = "",
    as_json: options.Json = False,
) -> None:
    """Index text, Markdown, HTML and PDF files: read, cut into passages, embed, store.

    A document's id is its path below the folder that was given; indexing it again replaces it. What
    has not changed is not embedded again, so a run that broke off is continued by repeating it.
    Exit code 1 if any document failed. Needs no server, as ask.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        found = await asyncio.to_thread(documents.find, places)
        _check(found, places, prune=prune)
        _check_engine(engine, ray_address, target, prune=prune)
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
        if dry_run and not prune:
            _show_plan(found, [], output)
            return ExitCode.FAILED if found.unreadable else ExitCode.OK
        progress = IndexProgress(len(found.files))
        progress.note_unreadable(found.unreadable)
        try:
            if engine is Engine.RAY:
                # Imported when it is needed: it loads what a query service does.
                on_ray = importlib.import_module("cli.index_ray")
                async with on_ray.ray_engine(
                    first,
                    found.files,
                    progress.fail,
                    address=ray_address,
                    carries_key=chosen.carries_key,
                    output=output,
                ) as responses:
                    await _take(responses, progress, output)
                progress.show(collection, output)
                return ExitCode.FAILED if progress.failures else ExitCode.OK
            async with connect(SERVICE, target, output, carries_key=chosen.carries_key) as client:
                stub = QueryServiceStub(client.channel)
                pruning = Pruning(stub, first.context, collection, found)
                if prune:
                    pruning.tell(output)
                if dry_run:
                    _show_plan(found, await pruning.vanished(), output)
                    return ExitCode.FAILED if found.unreadable else ExitCode.OK
                await _index(stub, first, found.files, progress, output)
                if prune and progress.summary is not None:
                    progress.removed = await pruning.vanished()
                    await pruning.remove(progress.removed)
        except CommandError as error:
            raise progress.broken_off(error) from None
        except asyncio.CancelledError:
            output.note("Interrupted: run the command again to go on; what is stored stays.")
            raise
        progress.show(collection, output)
        return ExitCode.FAILED if progress.failures else ExitCode.OK

    run(output, work())


def _check(found: Found, places: Sequence[str], *, prune: bool) -> None:
    if prune:
        check_folders(found)
    elif not found.files and not found.unreadable:
        suffixes = ", ".join(documents.MEDIA_TYPES)
        raise CommandError(f"There is no {suffixes} file in {', '.join(places)}.", ExitCode.USAGE)


def _check_engine(engine: Engine, ray_address: str, target: str | None, *, prune: bool) -> None:
    if engine is Engine.RAY and prune:
        raise CommandError(
            "--prune is done by the query service: run the command with it once more, without "
            "--engine ray; what is stored is not embedded again.",
            ExitCode.USAGE,
        )
    if engine is Engine.RAY and target is not None:
        raise CommandError(
            "--engine ray writes to the store (CASCADA_STORE) by itself, not through the query "
            "service: leave --target out.",
            ExitCode.USAGE,
        )
    if engine is not Engine.RAY and ray_address:
        raise CommandError("--ray-address belongs to --engine ray.", ExitCode.USAGE)


async def _index(
    stub: QueryServiceStub,
    first: document_pb2.IndexOptions,
    files: Sequence[DocumentFile],
    progress: IndexProgress,
    output: Output,
) -> None:
    # A write waits until the service takes it, so that no more than a few documents are in memory.
    call = stub.IndexDocuments(_messages(first, files, progress))
    try:
        await _take(call, progress, output)
    finally:
        call.cancel()


async def _take(
    responses: AsyncIterable[query_service_pb2.IndexDocumentsResponse],
    progress: IndexProgress,
    output: Output,
) -> None:
    with progress_bar(output) as bar:
        task = bar.add_task("", total=progress.total)
        async for response in responses:
            if response.HasField("summary"):
                progress.summary = response.summary
            else:
                progress.take(response.result)
                bar.update(task, completed=progress.results)


async def _messages(
    first: document_pb2.IndexOptions, files: Sequence[DocumentFile], progress: IndexProgress
) -> AsyncIterator[query_service_pb2.IndexDocumentsRequest]:
    yield query_service_pb2.IndexDocumentsRequest(options=first)
    for file in files:
        try:
            document = await asyncio.to_thread(documents.read, file)
        except UnreadableError as error:
            progress.fail(file.document_id, str(error))
            continue
        yield query_service_pb2.IndexDocumentsRequest(document=document)


def _show_plan(found: Found, vanished: Sequence[str], output: Output) -> None:
    ids = [file.document_id for file in found.files]
    unreadable = [{"place": each.place, "detail": each.reason} for each in found.unreadable]
    if output.as_json:
        output.document({"would_index": ids, "would_remove": vanished, "unreadable": unreadable})
        return
    for each in found.unreadable:
        output.line(f"failed  {each.place}: {each.reason}")
    for document_id in ids:
        output.line(f"would index  {document_id}")
    for document_id in vanished:
        output.line(f"would remove {document_id}")
