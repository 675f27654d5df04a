"""The errors of the query service, and how the store's become a caller's.

CascadaError
├── StoreFailedError         UPSTREAM_FAILED: the vector store can't do its work now
└── UnusableDocumentError    INVALID_ARGUMENT: a document can't be indexed
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config_core.errors import (
    CascadaError,
    CollectionNotFoundError,
    EmbeddingSpaceMismatchError,
    InvalidArgumentError,
    Reason,
    Violation,
)
from query.store import errors as store_errors


class StoreFailedError(CascadaError):
    """The vector store can't do its work now."""

    reason = Reason.UPSTREAM_FAILED


class UnusableDocumentError(CascadaError):
    """A document can't be indexed, for the reason that `why` gives."""

    reason = Reason.INVALID_ARGUMENT

    def __init__(self, why: str) -> None:
        super().__init__(f"The document can't be indexed: {why}.")


@asynccontextmanager
async def store_errors_for(collection: str = "") -> AsyncIterator[None]:
    """Turn what the store raises into the errors that a caller gets."""
    try:
        yield
    except store_errors.CollectionNotFoundError as error:
        raise CollectionNotFoundError(error.collection) from None
    except store_errors.SpaceMismatchError as error:
        raise EmbeddingSpaceMismatchError(collection, error.expected, error.actual) from None
    except store_errors.InvalidPageTokenError as error:
        violation = Violation("page_token", str(error), Reason.INVALID_ARGUMENT)
        raise InvalidArgumentError([violation]) from None
    except store_errors.StoreError as error:
        raise StoreFailedError(str(error)) from None
