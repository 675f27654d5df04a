"""Which options are refused: those of chat by provider and model, and all of provider_configs."""

import math
import re
from collections.abc import Mapping
from typing import Any

from config_core.capabilities import MATRIX, provider_options
from config_core.model_configuration import ModelProvider

_REASONING_MODEL = re.compile(r"(?:o[134]|gpt-5(?:\.\d+)?)(?!.*chat)(?:-.*)?")
_REASONING_REFUSES = frozenset({"top_p", "frequency_penalty", "presence_penalty"})
_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "object": (dict,),
}
_SUSPICIOUS_NAME = re.compile(
    r"key|token|secret|password|credential|auth|url|uri|host|header|proxy|endpoint|cookie",
    re.IGNORECASE,
)
_CREDENTIAL_NAME = re.compile(
    r"api[-_ ]?key|access[-_ ]?token|secret|password|credential|authorization|bearer", re.IGNORECASE
)


def is_reasoning_model(provider: ModelProvider, model: str) -> bool:
    """Whether the model is one of OpenAI's that fix their own sampling."""
    return provider is ModelProvider.OPENAI and _REASONING_MODEL.fullmatch(model) is not None


def refusals(provider: ModelProvider, model: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Why this provider and model cannot take a chat option, by its name; empty where they can."""
    chat = MATRIX[provider].chat
    if chat is None:
        return dict.fromkeys(options, f"{provider} has no chat")
    reasoning = is_reasoning_model(provider, model)
    found = {}
    for option, value in options.items():
        why = None
        if option not in chat.options:
            why = f"{provider} does not take {option}"
        elif option == "temperature":
            if value > chat.max_temperature:
                why = f"{provider} takes a temperature up to {chat.max_temperature:g}"
        elif option == "stop" and len(value) > chat.max_stop_sequences:
            why = f"{provider} takes at most {chat.max_stop_sequences} stop sequences"
        if why is None and reasoning:
            why = _reasoning_refusal(model, option, value)
        if why is not None:
            found[option] = why
    return found


def _reasoning_refusal(model: str, option: str, value: Any) -> str | None:
    """Why a reasoning model cannot take the option; `None` where it can."""
    if option == "temperature" and value != 1:
        return f"{model} takes no temperature but 1"
    if option == "stop" and value:
        return f"{model} takes no stop sequences"
    return f"{model} does not take {option}" if option in _REASONING_REFUSES else None


def option_problem(provider_name: str, option: str, value: Any) -> str | None:
    """Why an entry of provider_configs is refused; `None` where an adapter takes it."""
    try:
        provider = ModelProvider(provider_name)
    except ValueError:
        return "is not a provider: take openai, groq, mistral or local"
    known = {**provider_options(provider, "chat"), **provider_options(provider, "embedding")}
    kind = known.get(option)
    if kind is None:
        if _SUSPICIOUS_NAME.search(option):
            return (
                "looks like a credential or an address, which provider_configs never carries: use "
                "chat_api_key, chat_secret_ref or a registered endpoint"
            )
        return f"is not an option of {provider}: take one of {', '.join(sorted(known)) or 'none'}"
    if not isinstance(value, _JSON_TYPES[kind]) or (kind == "number" and isinstance(value, bool)):
        return f"must be a {kind}"
    return _smell(value)


def _smell(value: Any) -> str | None:
    """What a value, or anything inside it, carries that no option may."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, str):
        return "must not be an address" if "://" in value else None
    if isinstance(value, Mapping):
        if any(_CREDENTIAL_NAME.search(name) for name in value):
            return "must not hold a credential"
        value = list(value.values())
    if isinstance(value, list):
        return next((why for why in map(_smell, value) if why is not None), None)
    return None
