"""`cascada certs`: a development authority, and certificates for the services and a client."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.authority import Authority, Pair
from cli.exits import CommandError, ExitCode
from cli.output import Output

SERVICES = ("agent-execution", "query", "embedding")
CLIENT = "client"
_HOSTS = ("localhost", "127.0.0.1", "::1")


def certs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the files go; made if it is not there.")
    ],
    *,
    host: Annotated[
        list[str],
        typer.Option(
            metavar="NAME|ADDRESS",
            help="A name or address by which the services are reached, beside localhost and each "
            "service's own name; may be given several times.",
        ),
    ] = [],  # noqa: B006 # typer copies it
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="How long the certificates are valid.")
    ] = 365,
    as_json: options.Json = False,
) -> None:
    """Make an authority of your own for development, and what it certifies.

    Overwrites nothing. For production take certificates from the authority that you have.
    """
    output = Output(as_json=as_json)
    try:
        files = _make(folder, [*_HOSTS, *host], days)
    except CommandError as error:
        output.failure(error)
        raise typer.Exit(error.exit_code) from None
    variables = {name: _variables(folder, name) for name in SERVICES}
    if as_json:
        output.document({"files": [str(path) for path in files], "variables": variables})
        return
    for path in files:
        output.line(str(path))
    output.line()
    output.line("# a service, here query; agent-execution serves for `cascada serve all` too")
    for variable, value in variables["query"].items():
        output.line(f"export {variable}={value}")
    output.line("# mutual TLS as well: every client must show a certificate then")
    output.line(f"export CASCADA_TLS_CLIENT_CA_FILE={folder / 'ca.pem'}")
    output.line("# a command")
    certificate, key = _paths(folder, CLIENT)
    output.line(f"cascada ask … --ca {folder / 'ca.pem'} --cert {certificate} --key {key}")


def _variables(folder: Path, name: str) -> dict[str, str]:
    """What makes a service encrypt, and show itself to the next one."""
    certificate, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    return {
        "CASCADA_TLS_CERT_FILE": certificate,
        "CASCADA_TLS_KEY_FILE": key,
        "CASCADA_TLS_CA_FILE": str(folder / "ca.pem"),
        "CASCADA_TLS_CLIENT_CERT_FILE": certificate,
        "CASCADA_TLS_CLIENT_KEY_FILE": key,
    }


def _make(folder: Path, hosts: list[str], days: int) -> list[Path]:
    names = ("ca", *SERVICES, CLIENT)
    there = [path for name in names for path in _paths(folder, name) if path.exists()]
    if there:
        raise CommandError(
            f"{there[0]} is there already, and nothing is overwritten: name another folder, or "
            "remove what is in this one.",
            ExitCode.USAGE,
        )
    try:
        authority = Authority(days)
        pairs = {"ca": authority.pair}
        for name in SERVICES:
            pairs[name] = authority.issue(name, [*hosts, name])
        pairs[CLIENT] = authority.issue(CLIENT, [])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [path for name, pair in pairs.items() for path in _write(folder, name, pair)]
    except ValueError as error:
        raise CommandError(f"A --host is no name or address: {error}.", ExitCode.USAGE) from None
    except OSError as error:
        raise CommandError(f"{folder} can't be written to: {error.strerror}.") from None


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"


def _write(folder: Path, name: str, pair: Pair) -> tuple[Path, Path]:
    certificate, key = _paths(folder, name)
    for path, content, mode in ((key, pair.key, 0o600), (certificate, pair.certificate, 0o644)):
        opened: Any = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(opened, "wb") as file:  # noqa: PTH123 # a descriptor, for its mode
            file.write(content)
    return certificate, key
