"""What a provider answered, in our own words; a provider SDK's exceptions never leave its adapter.

UpstreamError
├── RateLimitedError            429
├── CredentialRejectedError     401, 402, 403; whose key it was decides the reason
├── ModelNotFoundError          404, or a 400 that says so
├── ContextTooLongError         prompt or text exceed the model's context
├── ContentRefusedError         a content filter
├── UpstreamRejectedError       any other 4xx
├── UpstreamFailedError         5xx, 408, 409, transport, silence, broken content
└── StreamInterruptedError      a stream that began and was cut, stalled or malformed
"""

from collections.abc import Mapping

from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider


class UpstreamError(CascadaError):
    """The base of what can come back from a provider. No text of the SDK is in the message."""

    retryable = False
    """Whether the same connection may be asked again."""

    def __init__(
        self,
        provider: ModelProvider,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        facts = {"provider": str(provider), **(metadata or {})}
        if status is not None:
            facts["status"] = str(status)
        super().__init__(message, metadata=facts)
        self.provider = provider
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id


class RateLimitedError(UpstreamError):
    """The provider asked for patience."""

    reason = Reason.RATE_LIMITED
    retryable = True


class CredentialRejectedError(UpstreamError):
    """The provider refused the key. `callers` says whether it was the caller's or tenant's own."""

    reason = Reason.UPSTREAM_CREDENTIAL_REJECTED

    def __init__(
        self,
        provider: ModelProvider,
        message: str,
        *,
        callers: bool,
        status: int | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(provider, message, status=status, request_id=request_id)
        self.callers = callers

    @property
    def code_reason(self) -> Reason:
        """CALLER_CREDENTIAL_REJECTED for the caller's own key."""
        return Reason.CALLER_CREDENTIAL_REJECTED if self.callers else self.reason


class ModelNotFoundError(UpstreamError):
    """The provider does not know the model."""

    reason = Reason.MODEL_NOT_FOUND


class ContextTooLongError(UpstreamError):
    """Prompt or text exceed the model's context."""

    reason = Reason.CONTEXT_TOO_LONG


class ContentRefusedError(UpstreamError):
    """The provider refused the content."""

    reason = Reason.CONTENT_REFUSED


class UpstreamRejectedError(UpstreamError):
    """The provider refused the request for another reason."""

    reason = Reason.UPSTREAM_REJECTED


class UpstreamFailedError(UpstreamError):
    """The provider failed; `silent` connections answered with silence and are not asked again."""

    reason = Reason.UPSTREAM_FAILED

    def __init__(
        self,
        provider: ModelProvider,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str = "",
        silent: bool = False,
        waited: float | None = None,
    ) -> None:
        """`waited` is how long a silent connection was given, in seconds."""
        super().__init__(
            provider, message, status=status, retry_after=retry_after, request_id=request_id
        )
        self.silent = silent
        self.waited = waited
        self.retryable = not silent


class StreamInterruptedError(UpstreamError):
    """A stream that had begun ended without its end. The whole answer may be asked for again."""

    reason = Reason.STREAM_INTERRUPTED

    def __init__(
        self,
        provider: ModelProvider,
        message: str,
        *,
        request_id: str = "",
        silent: bool = False,
        waited: float | None = None,
    ) -> None:
        """`waited` is how long a silent connection was given, in seconds."""
        super().__init__(provider, message, request_id=request_id)
        self.silent = silent
        self.waited = waited
        self.retryable = not silent
