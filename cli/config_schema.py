"""`cascada config schema`: the JSON schema of the configuration file."""

from cli import options
from cli.output import Output
from config_core.configuration_file import json_schema


def schema(*, as_json: options.Json = False) -> None:
    """Print the JSON schema of the configuration file. Needs no server."""
    # The schema is JSON either way; the option is there because every command has it.
    Output(as_json=as_json).document(json_schema())
