"""The record of attempts: each call to a provider, and each alternative that was passed over."""

from dataclasses import dataclass
from enum import StrEnum

from config_core.effective import Target
from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt; `wait` and `duration` in seconds, `detail` one sentence without secrets."""

    provider: ModelProvider
    endpoint: str
    model: str
    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    status: int = 0
    wait: float = 0.0
    duration: float = 0.0
    request_id: str = ""

    @classmethod
    def skipped(cls, target: Target, reason: Reason, detail: str) -> "Attempt":
        """An alternative that was not called."""
        connection = target.connection
        return cls(
            connection.provider,
            connection.endpoint,
            target.model,
            Outcome.SKIPPED,
            reason,
            detail,
        )

    @classmethod
    def failed(
        cls, target: Target, error: CascadaError, *, wait: float, duration: float
    ) -> "Attempt":
        """A call that failed."""
        connection = target.connection
        return cls(
            connection.provider,
            connection.endpoint,
            target.model,
            Outcome.FAILED,
            error.code_reason,
            error.message,
            getattr(error, "status", None) or 0,
            wait,
            duration,
            getattr(error, "request_id", ""),
        )

    @classmethod
    def succeeded(
        cls, target: Target, *, wait: float, duration: float, request_id: str
    ) -> "Attempt":
        """The call that the answer came from."""
        connection = target.connection
        return cls(
            connection.provider,
            connection.endpoint,
            target.model,
            Outcome.SUCCEEDED,
            wait=wait,
            duration=duration,
            request_id=request_id,
        )
