"""The options of every command that calls a service: as whom, and over what connection.

Each sets the environment variable that stands behind it, as the options of `serve` do.
"""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import typer

_PANEL = "Connection"

_TokenVariable = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        metavar="VARIABLE",
        help="The environment variable that holds your token. [CASCADA_TOKEN]",
        rich_help_panel=_PANEL,
    ),
]
_Tls = Annotated[
    bool,
    typer.Option("--tls", help="Connect over TLS. [CASCADA_TLS]", rich_help_panel=_PANEL),
]
_Ca = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Connect over TLS and trust these authorities instead of the public ones. "
        "[CASCADA_TLS_CA_FILE]",
        rich_help_panel=_PANEL,
    ),
]
_Cert = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Your client certificate. [CASCADA_TLS_CLIENT_CERT_FILE]",
        rich_help_panel=_PANEL,
    ),
]
_Key = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Its private key. [CASCADA_TLS_CLIENT_KEY_FILE]",
        rich_help_panel=_PANEL,
    ),
]

_OPTIONS = (
    ("token_env", _TokenVariable, None),
    ("tls", _Tls, False),
    ("ca", _Ca, None),
    ("cert", _Cert, None),
    ("key", _Key, None),
)
_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "ca": "CASCADA_TLS_CA_FILE",
        "cert": "CASCADA_TLS_CLIENT_CERT_FILE",
        "key": "CASCADA_TLS_CLIENT_KEY_FILE",
    }
)


def with_connection(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options beside its own."""
    signature = inspect.signature(command)
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, annotation, default in _OPTIONS
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        _apply({parameter.name: given.pop(parameter.name) for parameter in added})
        command(**given)

    parameters = [*signature.parameters.values(), *added]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # what typer reads
    run.__annotations__ = {
        **command.__annotations__,
        **{parameter.name: parameter.annotation for parameter in added},
    }
    return run


def _apply(given: Mapping[str, Any]) -> None:
    variable = given["token_env"]
    if variable is not None:
        token = os.environ.get(variable, "").strip()
        if not token:
            # The variable's name is not repeated: it may be the token itself, given by mistake.
            raise typer.BadParameter(
                "names an environment variable, and there is none of that name with a token in it",
                param_hint="--token-env",
            )
        os.environ["CASCADA_TOKEN"] = token
    if given["tls"]:
        os.environ["CASCADA_TLS"] = "1"
    for name, behind in _VARIABLES.items():
        if given[name] is not None:
            os.environ[behind] = given[name]
