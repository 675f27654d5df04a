"""What an adapter may leave out of the contract, each an attribute that its test class sets."""

from collections.abc import Mapping

import pytest

from query.store.model import Hit
from query.store.testing.queries import ids


class Guarantees:
    """The exceptions that a store may state. All is kept unless its test class says otherwise."""

    exact_ties = True
    """Equal scores are ordered by dense score, then chunk id. Without it their order is open; what
    is found, and every score, is the same."""
    bm25_scores = True
    """Full text is scored by exact bm25 with the statistics of the one collection. Without it
    scores are the engine's: above 0, the better the more and the rarer the words are."""
    longest_text: int | None = None
    """The most characters of a passage that the engine takes; a longer one is a ValueError."""

    def assert_ranked(self, hits: list[Hit], expected: Mapping[str, float], top_k: int) -> None:
        """Check ids against scores that stand in the right order; ties are free if they may be."""
        found = ids(hits)
        wanted = list(expected)[:top_k]
        if self.exact_ties:
            assert found == wanted
        else:
            assert len(set(found)) == len(found) == len(wanted)
            scores = [expected.get(key, float("nan")) for key in found]
            assert scores == pytest.approx([expected[key] for key in wanted], abs=1e-6)
