"""The upstream server and a pool, for tests of what chat and embeddings share."""

from tests.upstream.fixtures import clients, upstream

__all__ = ["clients", "upstream"]
