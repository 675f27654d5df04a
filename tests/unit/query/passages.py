"""Passages as a search finds them, for tests of what is done with them."""

from typing import Any

import numpy as np

from query.retrieval import Found
from query.store import Hit


def passage(name: str = "d", text: str = "", *, collection: str = "c", **fields: Any) -> Found:
    """A passage of document `name`, with other fields of its hit where they are given."""
    values: dict[str, Any] = {
        "chunk_id": f"{name}#{fields.get('position', 0)}",
        "document_id": name,
        "title": "",
        "text": text or f"Text of {name}.",
        "score": 1.0,
        "dense_score": None,
        "metadata": {},
        "section": "",
        "start": 0,
        "end": 9,
        "position": 0,
    }
    return Found(collection, Hit(**{**values, **fields}))


def direction(*values: float) -> bytes:
    """A vector of length one."""
    vector = np.array(values)
    return bytes((vector / np.linalg.norm(vector)).astype("<f4").tobytes())


def names(passages: Any) -> list[str]:
    """The documents of passages, in order."""
    return [found.hit.document_id for found in passages]
