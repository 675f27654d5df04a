"""`cascada capabilities`: what providers, models and options a service can serve."""

from typing import Annotated

import typer
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub
from rich import box
from rich.table import Table
from rich.text import Text

from cli import options, requests
from cli.client import connect
from cli.exits import ExitCode
from cli.messages import as_document, circuit_name, operation_name, provider_name
from cli.options import Service
from cli.output import Output, printable
from cli.running import run

_SECONDS = 30.0


def capabilities(
    *,
    service: Annotated[
        Service, typer.Option(help="Whose capabilities and credentials to show.")
    ] = Service.AGENT_EXECUTION,
    tenant: options.Tenant = "",
    target: options.Target = None,
    as_json: options.Json = False,
) -> None:
    """List providers, models, options, whether a credential is there, and the circuits.

    A circuit is shown by the service that calls the provider: query or embedding. Needs no server,
    as ask.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        request = pb.ListCapabilitiesRequest(context=requests.context(tenant))
        async with connect(service, target, output) as client:
            response = await ConfigurationServiceStub(client.channel).ListCapabilities(
                request, timeout=_SECONDS
            )
        if as_json:
            output.document(as_document(response))
        else:
            _show(response, output)
        return ExitCode.OK

    run(output, work())


def _show(response: pb.ListCapabilitiesResponse, output: Output) -> None:
    table = _table(
        "Provider", "Operations", "Credential", "Circuit", "Default models", "Chat options"
    )
    for row in response.providers:
        _add(
            table,
            provider_name(row.provider),
            ", ".join(map(operation_name, row.operations)),
            _credential(row.credential),
            circuit_name(row.circuit),
            "\n".join(filter(None, (row.default_chat_model, row.default_embedding_model))),
            ", ".join([*row.chat_options, *(f"{name}*" for name in row.provider_options)]),
        )
    output.show(table)
    output.line("* in provider_configs\n")
    embeddings = _table("Embedding model", "Provider", "Dimensions", "Most tokens of a text")
    for row in response.providers:
        for model in row.embedding_models:
            settable = " or fewer" if model.settable_dimensions else ""
            _add(
                embeddings,
                model.model,
                provider_name(row.provider),
                f"{model.dimensions}{settable}",
                str(model.max_input_tokens),
            )
    output.show(embeddings)
    if response.endpoints:
        output.line()
        endpoints = _table("Endpoint", "Provider", "Embedding space", "Credential", "Circuit")
        for endpoint in response.endpoints:
            _add(
                endpoints,
                endpoint.name,
                provider_name(endpoint.provider),
                endpoint.space,
                _credential(endpoint.credential),
                circuit_name(endpoint.circuit),
            )
        output.show(endpoints)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns[:-1]:
        column.overflow = "fold"
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _credential(value: pb.ConfigurationCredential.ValueType) -> str:
    name = pb.ConfigurationCredential.Name(value)
    return name.removeprefix("CONFIGURATION_CREDENTIAL_").replace("_", " ").lower()
