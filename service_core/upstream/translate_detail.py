"""Finds what a provider says was wrong in its error body, whichever of the known forms it has.

OpenAI, Groq, llama.cpp: `{"error": {"message", "type", "code"}}`; Ollama and some gateways:
`{"error": "message"}`; Mistral and vLLM: `{"object": "error", "message", "type", "code"}`, where
the message may be a `{"detail"}`; Mistral's validation: `{"detail"}`, a text or `[{"loc", "msg"}]`.
"""

import json
import re
from dataclasses import dataclass

MAX_REASON = 300
"""The most characters of a provider's own text that are passed on."""

_CONTEXT_CODES = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"}
)
_CONTEXT_WORDS = re.compile(
    r"maximum context length|context (?:length|window|size) (?:is |was )?exceed"
    r"|exceeds? the (?:available |maximum |model'?s? )*context|exceeding max \d+ tokens"
    r"|larger than the (?:maximum )?context|reduce the length of the (?:messages|prompt|input)"
    r"|too large for model with \d+|prompt is too long|input length exceeds",
    re.IGNORECASE,
)
_CONTENT_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "invalid_prompt",
        "moderation_blocked",
        "responsibleaipolicyviolation",
    }
)
_MODEL_CODES = frozenset(
    {
        "1500",  # Mistral
        "deploymentnotfound",
        "invalid_model",
        "model_decommissioned",
        "model_not_active",
        "model_not_found",
        "notfounderror",  # vLLM
    }
)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_RATE_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests"}
)
_STATUSES = {str(status): status for status in range(400, 600)}


@dataclass(frozen=True, slots=True)
class Detail:
    """What an error body says; codes in lower case, `status` where the body itself has one."""

    message: str = ""
    codes: frozenset[str] = frozenset()
    status: int | None = None

    @property
    def context_code(self) -> bool:
        """Whether a code says that the context is exceeded."""
        return bool(self.codes & _CONTEXT_CODES)

    @property
    def context_words(self) -> bool:
        """Whether the text says so; OpenAI's embeddings, Mistral and vLLM have no code for it."""
        return _CONTEXT_WORDS.search(self.message) is not None

    @property
    def content_refused(self) -> bool:
        """Whether a content filter spoke."""
        return bool(self.codes & _CONTENT_CODES)

    @property
    def model_unknown(self) -> bool:
        """Whether a code says that there is no such model."""
        return bool(self.codes & _MODEL_CODES)

    @property
    def quota_spent(self) -> bool:
        """Whether waiting does not help, because what was paid for is used up."""
        return bool(self.codes & _QUOTA_CODES)

    @property
    def rate_limited(self) -> bool:
        """Whether a code says so; for errors that come without an HTTP status."""
        return bool(self.codes & _RATE_CODES)


def read_detail(body: bytes) -> Detail:
    """What an error body says, as far as it has one of the known forms."""
    try:
        return detail_of(json.loads(body))
    except (ValueError, RecursionError):
        return Detail()


def detail_of(data: object) -> Detail:
    """What a decoded error says; `data` is the whole body or its `error`."""
    if isinstance(data, str):
        return Detail(message=data)
    if not isinstance(data, dict):
        return Detail()
    if data.get("error"):
        return detail_of(data["error"])
    inner = data.get("innererror")
    names = [data.get("code"), data.get("type")]
    if isinstance(inner, dict):
        names.append(inner.get("code"))
    codes = frozenset(str(name).lower() for name in names if isinstance(name, (str, int)) and name)
    numbers = [_STATUSES.get(str(data.get(name))) for name in ("status_code", "code")]
    status = numbers[0] or numbers[1]
    return Detail(_text(data.get("message") or data.get("detail")), codes, status)


def _text(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("detail") or value.get("message") or value.get("msg")
    if isinstance(value, list):
        return "; ".join(part for part in (_text(item) for item in value) if part)
    return value if isinstance(value, str) else ""
