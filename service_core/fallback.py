"""The fallback to an alternative: after which failures, and to which model."""

from collections.abc import Iterable

from config_core.capabilities import MATRIX
from config_core.effective import Target
from config_core.errors import CascadaError, Reason
from config_core.model_configuration import FallbackCondition, Fallbacks
from service_core.attempts import Attempt, Outcome

_FALLS_BACK = frozenset(
    {
        Reason.UPSTREAM_CREDENTIAL_REJECTED,
        Reason.RATE_LIMITED,
        Reason.UPSTREAM_FAILED,
        Reason.STREAM_INTERRUPTED,
    }
)
_FALLS_BACK_ON = {
    Reason.CAPABILITY_UNSUPPORTED: FallbackCondition.CAPABILITY_UNSUPPORTED,
    Reason.CONTENT_REFUSED: FallbackCondition.CONTENT_REFUSED,
}


def falls_back(error: CascadaError, fallbacks: Fallbacks | None) -> bool:
    """Whether the next alternative may be asked after this failure."""
    reason = error.code_reason
    if reason in _FALLS_BACK or reason is Reason.CONTEXT_TOO_LONG:
        return True
    return fallbacks is not None and _FALLS_BACK_ON.get(reason) in fallbacks.fallback_on


def takes_longer_prompt(target: Target, targets: Iterable[Target], made: Iterable[Attempt]) -> bool:
    """Whether a model is declared to take longer prompts than all that were asked."""
    called = {
        (attempt.provider, attempt.endpoint, attempt.model)
        for attempt in made
        if attempt.outcome is not Outcome.SKIPPED
    }
    asked = (
        other
        for other in targets
        if (other.connection.provider, other.connection.endpoint, other.model) in called
    )
    return _context_tokens(target) > max(map(_context_tokens, asked))


def _context_tokens(target: Target) -> int:
    """How long a prompt the model is declared to take; 0 where nothing is declared."""
    chat = MATRIX[target.connection.provider].chat
    return chat.context_tokens.get(target.model, 0) if chat else 0
