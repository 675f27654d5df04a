"""What a store can fail with.

StoreError
├── SpaceMismatchError       the collection is pinned to another embedding space
├── CollectionNotFoundError  the tenant has no collection of that name
├── InvalidPageTokenError    the page token is not one that the store gave out
├── StoreUnavailableError    closed, locked for too long, disk full, damaged, unreadable
└── SchemaTooNewError        a newer Cascada wrote the store

An argument that no caller should ever pass (a vector of the wrong length, a chunk id that another
document holds) is a ValueError.
"""

from config_core.space import EmbeddingSpace


class StoreError(Exception):
    """The base of every error that a store raises on purpose."""


class SpaceMismatchError(StoreError):
    """The collection is pinned to `expected`; the caller brought `actual`."""

    def __init__(self, expected: EmbeddingSpace, actual: EmbeddingSpace) -> None:
        super().__init__(
            f"The collection holds vectors of {expected}, not of {actual}; "
            "use that embedding space or another collection."
        )
        self.expected = expected
        self.actual = actual


class CollectionNotFoundError(StoreError):
    """The tenant has no collection `collection`."""

    def __init__(self, collection: str) -> None:
        super().__init__(f"There is no collection {collection!r}; index documents into it first.")
        self.collection = collection


class InvalidPageTokenError(StoreError):
    """The page token was made up, cut, or belongs to another listing."""

    def __init__(self) -> None:
        super().__init__("The page token is not valid; start again without one.")


class StoreUnavailableError(StoreError):
    """The store cannot do its work now; the sentence says what the operator can do."""


class SchemaTooNewError(StoreError):
    """The store has schema `found`; this code knows schemas up to `supported`."""

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"The store was written by a newer Cascada (schema {found}, this one knows up to "
            f"{supported}); upgrade Cascada or choose another store."
        )
        self.found = found
        self.supported = supported
