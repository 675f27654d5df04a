"""`cascada token new`: a bearer token for a caller, and what of it goes into the configuration."""

import json
from typing import Annotated

import typer

from cli import options
from cli.exits import CommandError, ExitCode
from cli.output import Output
from config_core.errors import ConfigurationFileError
from config_core.file_reader import parse
from config_core.identity import Role
from service_core.identity.tokens import digest_of, new_token


def new(
    *,
    name: Annotated[str, typer.Option(help="What the identity is called in logs.")] = "NAME",
    tenant: Annotated[
        str, typer.Option(help="Its tenant; empty for one with the role service alone.")
    ] = "default",
    role: Annotated[
        list[Role], typer.Option(help="What it may do; may be given several times.")
    ] = [Role.CALLER],  # noqa: B006 # typer copies it
    as_json: options.Json = False,
) -> None:
    """Make a token of 256 random bits; the configuration file gets nothing but its hash.

    The token is shown this once: hand it to the caller, who sends it as `authorization: Bearer …`.
    """
    output = Output(as_json=as_json)
    token = new_token()
    entry: dict[str, object] = {"sha256": digest_of(token)}
    if tenant:
        entry["tenant"] = tenant
    entry["roles"] = [str(one) for one in role]
    tokens = {"identity": {"tokens": {name: entry}}}
    try:
        parse(tokens, "token")
    except ConfigurationFileError as error:
        path, why = error.problems[0]
        message = f"The configuration file would refuse the token: {path}: {why}."
        output.failure(CommandError(message, ExitCode.USAGE))
        raise typer.Exit(ExitCode.USAGE) from None
    if as_json:
        output.document({"token": token, "configuration": tokens})
        return
    output.line(token)
    output.note("The token stands above, this once. Into the configuration file goes:")
    output.note(json.dumps(tokens, indent=2))
