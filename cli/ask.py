"""`cascada ask`: a question, its answer as it comes, the citations and the trace."""

import os
from contextlib import ExitStack
from typing import Annotated

import typer
from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.common.v1 import error_reason_pb2

from cli import options, requests
from cli.client import Client, connect, deadline
from cli.exits import CommandError, ExitCode
from cli.messages import as_document
from cli.output import Output
from cli.retrieval import SearchOptions, retrieval
from cli.running import run
from cli.trace import show_trace

SERVICE = "agent-execution"


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.", metavar="QUESTION")],
    *,
    collection: options.Collections = [],  # noqa: B006 # typer copies it
    provider: options.Provider = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    chat_api_key_env: options.ChatKeyVariable = None,
    temperature: options.Temperature = None,
    max_tokens: options.MaxTokens = None,
    system: Annotated[
        str | None,
        typer.Option(help="The system prompt instead of the service's own; empty for none."),
    ] = None,
    top_k: options.TopK = None,
    threshold: options.Threshold = None,
    mode: options.SearchMode = None,
    mmr: options.Mmr = None,
    neighbours: options.Neighbours = None,
    rerank: options.Rerank = None,
    config_json: options.ConfigJson = None,
    tenant: options.Tenant = "",
    target: options.Target = None,
    timeout: options.Timeout = None,
    stream: Annotated[
        bool, typer.Option(help="Write the answer as it comes, or once it is complete.")
    ] = True,
    trace: Annotated[bool, typer.Option(help="Show which configuration ran, hop by hop.")] = True,
    as_json: options.Json = False,
) -> None:
    """Ask a question, of the documents in collections if any are named.

    Needs no server: where none listens, the three services run inside this command.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        chosen = requests.models(
            chat=requests.ModelOptions(
                provider=provider,
                endpoint=endpoint,
                model=model,
                key=requests.key_of("--chat-api-key-env", chat_api_key_env, os.environ),
                temperature=temperature,
                max_tokens=max_tokens,
            ),
            timeout=timeout,
            config_json=config_json,
        )
        how = SearchOptions(
            top_k=top_k,
            threshold=threshold,
            mode=mode,
            mmr=mmr,
            neighbours=neighbours,
            rerank=rerank,
        )
        passages = retrieval(collection, how)
        request = requests.execution(question, tenant, chosen, passages, system)
        seconds = deadline(timeout)
        async with connect(SERVICE, target, output, carries_key=chosen.carries_key) as client:
            if stream and not as_json:
                response = await _streamed(client, request, output, seconds)
            else:
                response = await _whole(client, request, output, seconds)
        _show(response, output, trace=trace)
        return ExitCode.OK

    run(output, work())


async def _whole(
    client: Client, request: pb.ExecuteRequest, output: Output, seconds: float
) -> pb.ExecuteResponse:
    with output.working("Waiting for the answer…"):
        response = await AgentExecutionServiceStub(client.channel).Execute(request, timeout=seconds)
    if not output.as_json:
        output.line(response.answer)
    return response


async def _streamed(
    client: Client, request: pb.ExecuteRequest, output: Output, seconds: float
) -> pb.ExecuteResponse:
    call = AgentExecutionServiceStub(client.channel).StreamExecute(
        requests.streamed(request), timeout=seconds
    )
    written = False
    waiting = ExitStack()
    waiting.enter_context(output.working("Waiting for the answer…"))
    try:
        async for event in call:
            kind = event.WhichOneof("event")
            if kind != "restarted":
                waiting.close()
            if kind == "delta":
                output.piece(event.delta)
                written = True
            elif kind == "restarted":
                if written:
                    output.line()
                written = False
                output.note(_restarted(event))
            elif kind == "completed":
                if written:
                    output.line()
                return event.completed
    finally:
        waiting.close()
        call.cancel()
    raise CommandError(
        "The answer ended before it was complete: ask again.",
        details={"code": "UNAVAILABLE", "reason": "STREAM_INTERRUPTED"},
    )


def _restarted(event: pb.StreamExecuteResponse) -> str:
    reason = error_reason_pb2.ErrorReason.Name(event.restarted.reason).removeprefix("ERROR_REASON_")
    return (
        f"[the answer was cut ({reason}); what stands above is void, attempt "
        f"{event.restarted.attempt} gives the whole answer]"
    )


def _show(response: pb.ExecuteResponse, output: Output, *, trace: bool) -> None:
    if output.as_json:
        document = as_document(response)
        if not trace:
            del document["configuration_trace"]
        output.document(document)
        return
    for call in response.tool_calls:
        output.line(f"tool call {call.name}({call.arguments})")
    if response.citations:
        output.line()
        output.line("Passages", style="bold")
    for citation in response.citations:
        title = f" {citation.title} –" if citation.title else ""
        named = citation.section not in ("", citation.title)
        section = f", {citation.section}" if named else ""
        output.line(
            f"[{citation.number}]{title} {citation.document_id}{section} "
            f"({citation.collection}, score {citation.score:.3f})"
        )
    if trace:
        output.line()
        show_trace(output, response.configuration_trace)
