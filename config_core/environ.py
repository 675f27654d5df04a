"""Reading typed settings from environment variables, which are an argument, never looked up."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from config_core.errors import ConfigurationFileError
from config_core.validation import problems_of

PLACE = "environment"


class EnvironmentModel(BaseSettings):
    """Settings: each field is the variable PREFIX + FIELD, and an empty one counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 # given, not read
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # the same
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `from_environ` passes in; never the process's own environment."""
        return (init_settings,)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], prefix: str) -> Self:
        """The settings; raises ConfigurationFileError naming each variable that is wrong."""
        try:
            return cls(**_MappingSource(cls, environ, prefix)())
        except ValidationError as error:
            problems = [(prefix + path.upper(), why) for path, why in problems_of(error)]
            raise ConfigurationFileError(PLACE, problems) from None
        except SettingsError as error:
            field = str(error).split('"')[1]
            problems = [(prefix + field.upper(), "is not valid JSON")]
            raise ConfigurationFileError(PLACE, problems) from None

    @classmethod
    def variables(cls, prefix: str) -> frozenset[str]:
        """The names of the variables that are read."""
        return frozenset(prefix + name.upper() for name in cls.model_fields)


class _MappingSource(EnvSettingsSource):
    """pydantic-settings' reading of variables, from a mapping."""

    def __init__(
        self, settings: type[BaseSettings], environ: Mapping[str, str], prefix: str
    ) -> None:
        self._environ = environ
        super().__init__(settings, case_sensitive=False, env_prefix=prefix, env_ignore_empty=True)

    def _load_env_vars(self) -> Mapping[str, Any]:
        return {name.lower(): value for name, value in self._environ.items() if value != ""}
