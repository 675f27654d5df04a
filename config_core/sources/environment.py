"""ENVIRONMENT: the service's own environment: one variable a field, and provider connections."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from config_core.configuration_file import BaseUrl, ConfigurationFile
from config_core.environ import PLACE, EnvironmentModel
from config_core.errors import ConfigurationFileError
from config_core.file_reader import layer_problems
from config_core.layer import Layer
from config_core.model_configuration import (
    KEYED_PROVIDERS,
    ApiKey,
    ModelConfiguration,
    ModelProvider,
    of_fields,
    set_fields,
)
from config_core.source import Source

PREFIX = "CASCADA_"


class ConfigurationVariables(EnvironmentModel, ModelConfiguration):  # type: ignore[misc]  # both are frozen, closed and silent
    """ModelConfiguration as variables: CASCADA_CHAT_PROVIDER, CASCADA_TEMPERATURE and so on."""


class ConnectionVariables(EnvironmentModel):
    """One provider's connection: X_API_KEY and X_BASE_URL."""

    api_key: ApiKey | None = None
    base_url: BaseUrl | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentConnection:
    """The key and address of one provider's own service, which belong together."""

    api_key: SecretStr | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says about models."""

    configuration: ModelConfiguration
    connections: Mapping[ModelProvider, EnvironmentConnection]

    @property
    def layer(self) -> Layer:
        """The environment's layer of the resolution table."""
        return Layer.of(Source.ENVIRONMENT, self.configuration)

    def check(self, document: ConfigurationFile) -> None:
        """Raise ConfigurationFileError where the variables contradict one another or the file."""
        problems = [
            (PREFIX + path.upper(), why)
            for path, why in layer_problems(self.configuration, document)
        ]
        if problems:
            raise ConfigurationFileError(PLACE, problems)


def read(environ: Mapping[str, str]) -> Environment:
    """The environment's configuration and connections; raises ConfigurationFileError."""
    problems: list[tuple[str, str]] = []
    configuration = ModelConfiguration()
    connections = {}
    try:
        variables = ConfigurationVariables.from_environ(environ, PREFIX)
        configuration = of_fields(set_fields(variables))
    except ConfigurationFileError as error:
        problems += error.problems
    for provider in KEYED_PROVIDERS:
        try:
            found = ConnectionVariables.from_environ(environ, f"{provider.upper()}_")
        except ConfigurationFileError as error:
            problems += error.problems
            continue
        if found.api_key is not None or found.base_url is not None:
            connections[provider] = EnvironmentConnection(found.api_key, found.base_url)
    if problems:
        raise ConfigurationFileError(PLACE, problems)
    return Environment(configuration, connections)
