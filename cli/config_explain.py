"""`cascada config explain`: what a request would run with, and everything that is wrong with it."""

import os
from enum import StrEnum
from typing import Annotated

import typer
from cascada.common.v1 import error_reason_pb2
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1 import effective_configuration_pb2
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub

from cli import options, requests
from cli.client import connect
from cli.exits import ExitCode
from cli.messages import as_document, operation_name
from cli.options import Service
from cli.output import Output
from cli.running import run
from cli.trace import show_effective

_SECONDS = 30.0


class Operation(StrEnum):
    """What a configuration is resolved for."""

    CHAT = "chat"
    EMBEDDING = "embedding"


_OPERATIONS = {
    None: effective_configuration_pb2.OPERATION_UNSPECIFIED,
    Operation.CHAT: effective_configuration_pb2.OPERATION_CHAT,
    Operation.EMBEDDING: effective_configuration_pb2.OPERATION_EMBEDDING,
}


def explain(
    *,
    operation: Annotated[
        Operation | None,
        typer.Option(help="The one to explain; all if left out."),
    ] = None,
    service: Annotated[
        Service | None,
        typer.Option(
            help="Whose layers to explain; query with --collection, otherwise agent-execution."
        ),
    ] = None,
    collection: options.Collections = [],  # noqa: B006 # typer copies it
    provider: options.Provider = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    chat_api_key_env: options.ChatKeyVariable = None,
    temperature: options.Temperature = None,
    max_tokens: options.MaxTokens = None,
    embedding_provider: options.EmbeddingProvider = None,
    embedding_model: options.EmbeddingModel = None,
    embedding_endpoint: options.EmbeddingEndpoint = None,
    embedding_dimensions: options.EmbeddingDimensions = None,
    embedding_api_key_env: options.EmbeddingKeyVariable = None,
    timeout: options.Timeout = None,
    config_json: options.ConfigJson = None,
    tenant: options.Tenant = "",
    target: options.Target = None,
    as_json: options.Json = False,
) -> None:
    """Explain a configuration: each field, its value, and the layer that it comes from.

    Calls no provider. Exit code 1 if the configuration would be refused. Needs no server, as ask.
    """
    output = Output(as_json=as_json)
    whom = service or (Service.QUERY if collection else Service.AGENT_EXECUTION)

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
            embedding=requests.ModelOptions(
                provider=embedding_provider,
                model=embedding_model,
                endpoint=embedding_endpoint,
                dimensions=embedding_dimensions,
                key=requests.key_of("--embedding-api-key-env", embedding_api_key_env, os.environ),
            ),
            timeout=timeout,
            config_json=config_json,
        )
        request = pb.ResolveConfigurationRequest(
            context=requests.context(tenant),
            model_preferences=chosen.preferences,
            model_configuration=chosen.configuration,
            collections=collection,
            operation=_OPERATIONS[operation],
        )
        async with connect(whom, target, output, carries_key=chosen.carries_key) as client:
            response = await ConfigurationServiceStub(client.channel).ResolveConfiguration(
                request, timeout=_SECONDS
            )
        _show(response, whom, output)
        return ExitCode.FAILED if response.violations else ExitCode.OK

    run(output, work())


def _show(response: pb.ResolveConfigurationResponse, service: Service, output: Output) -> None:
    if output.as_json:
        output.document(as_document(response))
        return
    for resolved in response.operations:
        title = f"{operation_name(resolved.operation)} at {service}"
        if resolved.collections:
            title += f" for {', '.join(resolved.collections)}"
        show_effective(output, resolved.effective, title)
    for violation in response.violations:
        reason = error_reason_pb2.ErrorReason.Name(violation.reason).removeprefix("ERROR_REASON_")
        output.line(f"wrong  {violation.field}: {violation.description} ({reason})", style="red")
