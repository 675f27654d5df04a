"""Builds request messages from a command's options.

Chat choices are preferences, the short form, unless a connection of one's own is named (an endpoint
or a key): a connection is indivisible, so that then everything goes into the model configuration.
Values are checked by the services alone, which name everything that is wrong.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cascada.agent_execution.v1 import agent_execution_service_pb2
from cascada.common.v1 import request_context_pb2, retrieval_pb2
from cascada.config.v1 import (
    model_configuration_pb2,
    model_preferences_pb2,
    model_provider_pb2,
)

from cli.configuration_json import parse
from cli.exits import CommandError, ExitCode

_Configuration = model_configuration_pb2.ModelConfiguration

_CONNECTION = re.compile(r"(?P<kind>chat|embedding)_(provider|endpoint|api_key|secret_ref|model)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What a command line says about one kind of model; None leaves it to the next layer."""

    provider: str | None = None
    endpoint: str | None = None
    model: str | None = None
    key: str | None = field(default=None, repr=False)
    temperature: float | None = None
    max_tokens: int | None = None
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Models:
    """The configuration part of a request."""

    preferences: model_preferences_pb2.ModelPreferences | None
    configuration: _Configuration

    @property
    def carries_key(self) -> bool:
        """Whether a raw key is in it."""
        alternatives = self.configuration.fallbacks.alternatives
        return (
            self.configuration.HasField("chat_api_key")
            or self.configuration.HasField("embedding_api_key")
            or any(alternative.HasField("api_key") for alternative in alternatives)
        )


def models(
    *,
    chat: ModelOptions = ModelOptions(),
    embedding: ModelOptions = ModelOptions(),
    timeout: float | None = None,
    config_json: str | None = None,
    preferring: bool = True,
) -> Models:
    """The configuration part of a request; raises CommandError where options contradict.

    Without `preferring`, for a request that takes no preferences, there are none.
    """
    configuration = parse(_read(config_json)) if config_json is not None else _Configuration()
    own_connection = chat.endpoint is not None or chat.key is not None
    stated = _stated(
        chat_provider=chat.provider,
        chat_model=chat.model,
        chat_endpoint=chat.endpoint,
        chat_api_key=chat.key,
        temperature=chat.temperature,
        max_tokens=chat.max_tokens,
        embedding_provider=embedding.provider,
        embedding_model=embedding.model,
        embedding_endpoint=embedding.endpoint,
        embedding_api_key=embedding.key,
        embedding_dimensions=embedding.dimensions,
        timeout_seconds=timeout,
    )
    _refuse_twice(configuration, stated)
    _refuse_lone_keys(stated)
    preferences = _preferences(stated) if preferring and not own_connection else None
    for name, value in stated.items():
        is_provider = name.endswith("_provider")
        _set(configuration, name, _provider(str(value)) if is_provider else value)
    return Models(preferences, configuration)


def key_of(option: str, variable: str | None, environ: Mapping[str, str]) -> str | None:
    """The key in a variable, None where none is named; the variable's name is never repeated.

    It may be the key itself, given by mistake.
    """
    if variable is None:
        return None
    key = environ.get(variable, "").strip()
    if not key:
        raise CommandError(
            f"{option} names an environment variable, and there is none of that name with a key in "
            "it: export the key and give the variable's name.",
            ExitCode.CREDENTIAL,
        )
    return key


def context(tenant: str) -> request_context_pb2.RequestContext:
    """On whose behalf the request runs."""
    return request_context_pb2.RequestContext(tenant_id=tenant)


def execution(
    question: str,
    tenant: str,
    chosen: Models,
    passages: retrieval_pb2.Retrieval | None,
    system: str | None,
) -> agent_execution_service_pb2.ExecuteRequest:
    """A question with everything that its answer depends on."""
    return agent_execution_service_pb2.ExecuteRequest(
        context=context(tenant),
        message=question,
        model_preferences=chosen.preferences,
        model_configuration=chosen.configuration,
        retrieval=passages,
        system_prompt=system,
    )


def streamed(
    request: agent_execution_service_pb2.ExecuteRequest,
) -> agent_execution_service_pb2.StreamExecuteRequest:
    """The same request for a streamed answer."""
    same = agent_execution_service_pb2.StreamExecuteRequest()
    same.MergeFromString(request.SerializeToString())
    return same


def _stated(**options: str | float | None) -> dict[str, str | float]:
    return {name: value for name, value in options.items() if value is not None}


def _preferences(
    stated: dict[str, str | float],
) -> model_preferences_pb2.ModelPreferences | None:
    """Takes the preferences out of what is stated."""
    short = {
        name: stated.pop(field_name)
        for name, field_name in (
            ("provider", "chat_provider"),
            ("model", "chat_model"),
            ("temperature", "temperature"),
            ("max_tokens", "max_tokens"),
        )
        if field_name in stated
    }
    if not short:
        return None
    preferences = model_preferences_pb2.ModelPreferences()
    for name, value in short.items():
        _set(preferences, name, value)
    return preferences


def _set(
    message: _Configuration | model_preferences_pb2.ModelPreferences,
    name: str,
    value: str | float,
) -> None:
    try:
        setattr(message, name, value)
    except ValueError:  # an int32 has its limits
        raise CommandError(f"{name} is out of range.", ExitCode.USAGE) from None


def _provider(name: str) -> int:
    known = model_provider_pb2.ModelProvider.DESCRIPTOR.values_by_name
    value = known.get(f"MODEL_PROVIDER_{name.strip().upper()}")
    if value is None or value.number == 0:
        raise CommandError("A provider is one of openai, groq, mistral and local.", ExitCode.USAGE)
    number: int = value.number
    return number


def _refuse_twice(configuration: _Configuration, stated: Mapping[str, object]) -> None:
    """An option and the JSON must not say different things, nor take a connection apart."""
    given = {descriptor.name for descriptor, _ in configuration.ListFields()}
    kinds = {match["kind"] for name in given if (match := _CONNECTION.fullmatch(name))}
    for name in stated:
        match = _CONNECTION.fullmatch(name)
        if name in given or (match and match["kind"] in kinds):
            raise CommandError(
                f"{name} is set by an option, while --config-json sets it or what belongs to it: "
                "say it in one place.",
                ExitCode.USAGE,
            )


def _refuse_lone_keys(stated: Mapping[str, object]) -> None:
    for kind, prefix in (("chat", "--"), ("embedding", "--embedding-")):
        named = f"{kind}_provider" in stated or f"{kind}_endpoint" in stated
        if f"{kind}_api_key" in stated and not named:
            raise CommandError(
                f"--{kind}-api-key-env needs {prefix}provider or {prefix}endpoint, to say whose "
                "key it is.",
                ExitCode.USAGE,
            )


def _read(given: str) -> tuple[str, bool]:
    """The text of --config-json, and whether it stood on the command line, for everyone to see."""
    if given == "-":
        return sys.stdin.read(), False
    if not given.startswith("@"):
        return given, True
    try:
        return Path(given[1:]).read_text(encoding="utf-8"), False
    except (OSError, UnicodeDecodeError):
        raise CommandError(
            f"--config-json: {given[1:]} can't be read as a text file.", ExitCode.USAGE
        ) from None
