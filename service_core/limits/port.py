"""Where the use that tenants make of the services is counted: the port, and what passes it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Limit(StrEnum):
    """A limit of the policy, by the name that it has there."""

    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    CONCURRENT = "concurrent_requests"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request would use, held against limits; `None` for one that it is not held against."""

    requests: int | None = None
    """The most requests in a window."""
    concurrent: int | None = None
    """The most requests that run at the same time."""
    tokens: int | None = None
    """The most tokens in a window."""
    estimate: int = 0
    """The tokens that the request is expected to use."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to count."""
        return self.requests is None and self.concurrent is None and self.tokens is None

    @property
    def reserved(self) -> int:
        """The tokens to reserve; one request alone always fits, however many it expects."""
        return 0 if self.tokens is None else min(self.estimate, self.tokens)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request was given, to be settled once it has ended."""

    tenant: str
    lease: str = ""
    """Its place among the tenant's running requests; "" where none was asked for."""
    reserved: int = 0
    """The tokens that count until it is settled."""
    slice: int = 0
    """The part of the window that they count in."""
    counts_tokens: bool = False
    """Whether the tokens that it will have used count."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that is used up, and the seconds until it may not be any more."""

    limit: Limit
    retry_after: float


class LimitsUnavailableError(Exception):
    """The counts can't be reached."""


class LimitStore(Protocol):
    """Keeps the counts. All of a demand is granted, or nothing of it is counted."""

    async def take(self, tenant: str, demand: Demand) -> Grant | Refusal:
        """Count a request, or say what keeps it out; LimitsUnavailableError."""
        ...

    async def settle(self, grant: Grant, tokens: int | None) -> None:
        """Give back the place, and count the tokens used instead of those that were reserved.

        `None` leaves those that were reserved: nobody knows. LimitsUnavailableError.
        """
        ...

    def drop(self, grant: Grant) -> None:
        """Settle nothing, and do not keep the place either: it ends by itself."""
        ...

    async def aclose(self) -> None:
        """Let go of what it holds."""
        ...
