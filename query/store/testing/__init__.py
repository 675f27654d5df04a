"""What tests of stores share: the contract, and a corpus with brute force over it."""

from query.store.testing.contract import StoreContract
from query.store.testing.corpus import SPACE, BruteForce, corpus, document, fill, vector_of
from query.store.testing.guarantees import Guarantees
from query.store.testing.queries import dense, hybrid, ids, words

__all__ = [
    "SPACE",
    "BruteForce",
    "Guarantees",
    "StoreContract",
    "corpus",
    "dense",
    "document",
    "fill",
    "hybrid",
    "ids",
    "vector_of",
    "words",
]
