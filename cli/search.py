"""`cascada search`: the passages that a question finds."""

import os
from typing import Annotated

import typer
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from cli import options, requests
from cli.client import connect, deadline
from cli.exits import CommandError, ExitCode
from cli.messages import as_document
from cli.output import Output
from cli.retrieval import SearchOptions, retrieval
from cli.running import run
from cli.trace import show_trace

SERVICE = "query"


def search(
    query: Annotated[str, typer.Argument(help="What to search for.", metavar="QUERY")],
    *,
    collection: options.Collections = [],  # noqa: B006 # typer copies it
    top_k: options.TopK = None,
    threshold: options.Threshold = None,
    mode: options.SearchMode = None,
    mmr: options.Mmr = None,
    neighbours: options.Neighbours = None,
    rerank: options.Rerank = None,
    provider: options.Provider = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    chat_api_key_env: options.ChatKeyVariable = None,
    embedding_provider: options.EmbeddingProvider = None,
    embedding_model: options.EmbeddingModel = None,
    embedding_endpoint: options.EmbeddingEndpoint = None,
    embedding_dimensions: options.EmbeddingDimensions = None,
    embedding_api_key_env: options.EmbeddingKeyVariable = None,
    config_json: options.ConfigJson = None,
    tenant: options.Tenant = "",
    target: options.Target = None,
    timeout: options.Timeout = None,
    trace: Annotated[bool, typer.Option(help="Show which configuration ran, hop by hop.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find passages in collections, without an answer. Needs no server, as ask.

    The chat options say who orders the passages with --rerank.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        how = SearchOptions(
            top_k=top_k,
            threshold=threshold,
            mode=mode,
            mmr=mmr,
            neighbours=neighbours,
            rerank=rerank,
        )
        passages = retrieval(collection, how)
        if passages is None:
            raise CommandError("Name a --collection to search.", ExitCode.USAGE)
        chosen = requests.models(
            chat=requests.ModelOptions(
                provider=provider,
                model=model,
                endpoint=endpoint,
                key=requests.key_of("--chat-api-key-env", chat_api_key_env, os.environ),
            ),
            embedding=requests.ModelOptions(
                provider=embedding_provider,
                model=embedding_model,
                endpoint=embedding_endpoint,
                dimensions=embedding_dimensions,
                key=requests.key_of("--embedding-api-key-env", embedding_api_key_env, os.environ),
            ),
            timeout=timeout,
            config_json=config_json,
            preferring=False,
        )
        request = pb.SearchRequest(
            context=requests.context(tenant),
            query=query,
            retrieval=passages,
            model_configuration=chosen.configuration,
        )
        async with connect(SERVICE, target, output, carries_key=chosen.carries_key) as client:
            with output.working("Searching…"):
                response = await QueryServiceStub(client.channel).Search(
                    request, timeout=deadline(timeout)
                )
        _show(response, output, trace=trace)
        return ExitCode.OK

    run(output, work())


def _show(response: pb.SearchResponse, output: Output, *, trace: bool) -> None:
    if output.as_json:
        output.document(as_document(response))
        return
    if not response.hits:
        output.note("Nothing was found.")
    for number, hit in enumerate(response.hits, start=1):
        dense = f", cosine {hit.dense_score:.3f}" if hit.HasField("dense_score") else ""
        output.line(
            f"{number}. {hit.document_id} ({hit.collection}, score {hit.score:.4f}{dense})",
            style="bold",
        )
        heading = hit.section or hit.title
        if heading:
            output.line(f"   {heading}", style="italic")
        for line in hit.text.splitlines():
            output.line(f"   {line}")
    if trace:
        output.line()
        show_trace(output, response.configuration_trace)
