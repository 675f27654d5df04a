"""A model configuration in JSON as its message; in the configuration file's form or gRPC's."""

import json
from collections.abc import Mapping
from typing import Any

from cascada.config.v1 import model_configuration_pb2
from google.protobuf.json_format import ParseDict, ParseError

from cli.exits import CommandError, ExitCode

_KEYS = frozenset({"chat_api_key", "embedding_api_key"})
_PROVIDERS = frozenset({"chat_provider", "embedding_provider"})


def parse(given: tuple[str, bool]) -> model_configuration_pb2.ModelConfiguration:
    """The message; raises CommandError naming the field that is wrong, never its value.

    Args:
        given: The text, and whether it is in public: then it may hold no key.
    """
    text, in_public = given
    try:
        document = json.loads(text)
    except ValueError:
        raise _wrong("is not valid JSON") from None
    if not isinstance(document, dict):
        raise _wrong("must be a JSON object")
    message = model_configuration_pb2.ModelConfiguration()
    for name, value in document.items():
        if in_public and _holds_key(name, value):
            raise _wrong(
                "must not hold a key, which other users of the machine could see: use "
                "--chat-api-key-env, or give the JSON as @FILE"
            )
        try:
            ParseDict({name: _as_proto(name, value)}, message)
        except (ParseError, ValueError, TypeError):
            # Their text shows the value.
            raise _wrong(
                f"{name} is not a field of a model configuration or not of its type"
            ) from None
    return message


def _wrong(why: str) -> CommandError:
    return CommandError(f"--config-json: {why}.", ExitCode.USAGE)


def _holds_key(name: str, value: Any) -> bool:
    if name in _KEYS or name in {"chatApiKey", "embeddingApiKey"}:
        return True
    return name == "fallbacks" and any(word in json.dumps(value) for word in ("api_key", "apiKey"))


def _as_proto(name: str, value: Any) -> Any:
    """The configuration file writes enums in short, and lists without their wrapper."""
    if name in _PROVIDERS:
        return _enum("MODEL_PROVIDER_", value)
    if name == "stop" and isinstance(value, list):
        return {"sequences": value}
    if name == "fallbacks" and isinstance(value, Mapping):
        return _fallbacks(value)
    return value


def _fallbacks(value: Mapping[str, Any]) -> dict[str, Any]:
    alternatives = value.get("alternatives", [])
    conditions = value.get("fallback_on", [])
    return {
        **value,
        "alternatives": [
            {**entry, "provider": _enum("MODEL_PROVIDER_", entry["provider"])}
            if isinstance(entry, Mapping) and "provider" in entry
            else entry
            for entry in alternatives
        ],
        "fallback_on": [_enum("FALLBACK_CONDITION_", condition) for condition in conditions],
    }


def _enum(prefix: str, value: Any) -> Any:
    if not isinstance(value, str) or value.startswith(prefix):
        return value
    return prefix + value.strip().upper()
