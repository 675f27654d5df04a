"""The distributed store: a Milvus server or cluster, reached through pymilvus."""

from query.store.milvus.adapter import MilvusStore

__all__ = ["MilvusStore"]
