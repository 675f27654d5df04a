"""The errors that a caller can get, as facts and one sentence each.

    CascadaError
    ├── InvalidConfigurationError      INVALID_CONFIGURATION    every violation at once
    ├── InvalidArgumentError           INVALID_ARGUMENT         every violation at once
    ├── PolicyViolationError           POLICY_VIOLATION
    ├── UnauthenticatedError           UNAUTHENTICATED          never says which part was wrong
    ├── PermissionDeniedError          PERMISSION_DENIED
    ├── CapabilityUnsupportedError     CAPABILITY_UNSUPPORTED
    ├── CredentialMissingError         CREDENTIAL_MISSING
    ├── EmbeddingSpaceMismatchError    EMBEDDING_SPACE_MISMATCH
    ├── CollectionNotFoundError        COLLECTION_NOT_FOUND
    ├── DocumentNotFoundError          DOCUMENT_NOT_FOUND
    ├── LimitExceededError             LIMIT_EXCEEDED
    ├── OverloadedError                OVERLOADED
    ├── BudgetSpentError               BUDGET_SPENT
    ├── RemoteError                    any: the answer of the next service, passed on as it is
    └── UpstreamError                  service_core.upstream.errors: what a provider answered

    ConfigurationFileError             the operator's file or environment is invalid; never sent

Which gRPC code a reason has is one table in `service_core.status`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from config_core.space import EmbeddingSpace


class Reason(StrEnum):
    """The `reason` of an error; the wire enum `cascada.common.v1.ErrorReason` has the same ones."""

    INVALID_CONFIGURATION = "INVALID_CONFIGURATION"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    CAPABILITY_UNSUPPORTED = "CAPABILITY_UNSUPPORTED"
    CREDENTIAL_MISSING = "CREDENTIAL_MISSING"
    EMBEDDING_SPACE_MISMATCH = "EMBEDDING_SPACE_MISMATCH"
    CALLER_CREDENTIAL_REJECTED = "CALLER_CREDENTIAL_REJECTED"
    UPSTREAM_CREDENTIAL_REJECTED = "UPSTREAM_CREDENTIAL_REJECTED"
    RATE_LIMITED = "RATE_LIMITED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    OVERLOADED = "OVERLOADED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"
    DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"
    CONTENT_REFUSED = "CONTENT_REFUSED"
    UPSTREAM_REJECTED = "UPSTREAM_REJECTED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    STREAM_INTERRUPTED = "STREAM_INTERRUPTED"
    BUDGET_SPENT = "BUDGET_SPENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    POLICY_VIOLATION = "POLICY_VIOLATION"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: the path of the field, what to do, and the error that it makes."""

    field: str
    description: str
    reason: Reason = Reason.INVALID_CONFIGURATION
    metadata: Mapping[str, str] | None = None


class CascadaError(Exception):
    """The base of every error that a caller can get. `message` is one sentence without secrets."""

    reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        """The fields that are wrong, where the error is about fields."""
        self.retry_after: float | None = None
        """Seconds after which the call may succeed, where that is known."""
        self.hops: tuple[object, ...] = ()
        """Reports of the hops so far, as far as they were known when the error was raised."""

    @property
    def code_reason(self) -> Reason:
        """The reason that decides the gRPC code."""
        return self.reason


class ViolationsError(CascadaError):
    """Fields that are wrong, all of them; the message names the first."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            f"{first.field}: {first.description}{more}",
            metadata={**(first.metadata or {}), "violations": str(len(violations))},
            violations=violations,
        )


class InvalidConfigurationError(ViolationsError):
    """Values of the model configuration are invalid or contradict one another."""

    reason = Reason.INVALID_CONFIGURATION


class InvalidArgumentError(ViolationsError):
    """Parts of the request other than the model configuration are invalid."""

    reason = Reason.INVALID_ARGUMENT


class PolicyViolationError(ViolationsError):
    """A value in the request breaks a lock or bound; the message names the rule."""

    reason = Reason.POLICY_VIOLATION


class UnauthenticatedError(CascadaError):
    """Nobody knows who calls; what was wrong with the identity is not told."""

    reason = Reason.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__(
            "The call needs an identity that this service knows: send one as `authorization: "
            "Bearer TOKEN`, or connect with a client certificate."
        )


class PermissionDeniedError(CascadaError):
    """The caller may not do this."""

    reason = Reason.PERMISSION_DENIED


class CapabilityUnsupportedError(ViolationsError):
    """Provider or model cannot do what was asked; raised before any network call."""

    reason = Reason.CAPABILITY_UNSUPPORTED


class CredentialMissingError(CascadaError):
    """No key is to be had; the message names the variable or field that would supply one."""

    reason = Reason.CREDENTIAL_MISSING


class EmbeddingSpaceMismatchError(CascadaError):
    """A collection lives in another embedding space than the one asked for."""

    reason = Reason.EMBEDDING_SPACE_MISMATCH

    def __init__(
        self,
        collection: str,
        collection_space: EmbeddingSpace,
        requested_space: EmbeddingSpace | str,
    ) -> None:
        name = f"Collection {collection!r}" if collection else "The collection"
        super().__init__(
            f"{name} lives in the embedding space [{collection_space}], not in "
            f"[{requested_space}]: leave the embedding fields out to follow the collection, or "
            "index the documents into a collection of the other space.",
            metadata={
                "collection": collection,
                "collection_space": str(collection_space),
                "requested_space": str(requested_space),
            },
        )
        self.collection = collection
        self.collection_space = collection_space
        self.requested_space = requested_space


class CollectionNotFoundError(CascadaError):
    """The tenant has no such collection."""

    reason = Reason.COLLECTION_NOT_FOUND

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"There is no collection {collection!r}: index documents into it first, or list the "
            "collections with ListCollections.",
            metadata={"collection": collection},
        )
        self.collection = collection


class DocumentNotFoundError(CascadaError):
    """The collection has none of the documents named."""

    reason = Reason.DOCUMENT_NOT_FOUND

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"Collection {collection!r} has none of the documents named.",
            metadata={"collection": collection},
        )


class LimitExceededError(CascadaError):
    """A limit that the operator set for the tenant is used up."""

    reason = Reason.LIMIT_EXCEEDED

    def __init__(self, limit: str, most: int, retry_after: float) -> None:
        """`limit` is its name in the policy, `most` what it allows; the wait is in seconds."""
        super().__init__(
            f"The tenant's limit of {most} {limit.replace('_', ' ')} is used up: try again in "
            f"{math.ceil(retry_after)} s.",
            metadata={"limit": limit},
        )
        self.retry_after = retry_after


class OverloadedError(CascadaError):
    """The service has no room for the request."""

    reason = Reason.OVERLOADED


class BudgetSpentError(CascadaError):
    """The deadline passed before there was an answer."""

    reason = Reason.BUDGET_SPENT


class RemoteError(CascadaError):
    """The answer of the next service, passed on with its own reason."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, violations=violations)
        self._reason = reason
        self.retry_after = retry_after

    @property
    def code_reason(self) -> Reason:
        """The reason that the next service gave."""
        return self._reason


class ConfigurationFileError(Exception):
    """The operator's configuration is invalid: where, and why, without the value."""

    def __init__(self, place: str, problems: Sequence[tuple[str, str]]) -> None:
        """`place` is the file or `environment`; `problems` are pairs of path and reason."""
        lines = "; ".join(f"{path}: {why}" if path else why for path, why in problems)
        super().__init__(f"{place}: {lines}")
        self.place = place
        self.problems = tuple(problems)
