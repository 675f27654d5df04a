"""A small corpus for the contract of a store, and brute force over it to compare with."""

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from config_core.model_configuration import ModelProvider
from config_core.space import EmbeddingSpace
from query.store.fusion import fuse, fusion_depth
from query.store.model import Chunk, Document, MetadataValue
from query.store.port import Store

DIMENSIONS = 16
SPACE = EmbeddingSpace(ModelProvider.LOCAL, "contract", DIMENSIONS, "e5")
WORDS = (
    "corazón", "montaña", "río", "luz", "harbour", "bridge", "lantern", "copper", "winter",
    "orchard", "viento", "piedra", "sailor", "compass", "mercado", "niño",
)  # fmt: skip


CRAFTED = (
    "a", "a/b", "a\x1fb", "a\x00b", "A", "%", "_", "a%", "'", "''", '"', "' OR '1'='1", "a;--",
    "*", "1x", "ñandú", "n\u0303andu\u0301", "文書", "مستند", "📚" * 60, "x" * 128,
)  # fmt: skip
"""Names and values that mean something to a careless engine, or look alike to it."""


def vector_of(seed: int) -> bytes:
    """A vector of arbitrary length and direction, the same for the same seed."""
    values = np.random.default_rng(seed).standard_normal(DIMENSIONS)
    return (values * (1 + seed % 7)).astype("<f4").tobytes()


def unit(vector: bytes) -> NDArray[np.float64]:
    """The vector's direction."""
    values = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    return values / float(np.linalg.norm(values))


QUERY = vector_of(9999)
"""What the contract's queries look for."""


def vector_at(cosine: float, seed: int) -> bytes:
    """A vector with this cosine to `QUERY`, otherwise of any direction."""
    along = unit(QUERY)
    across = unit(vector_of(seed))
    across -= (across @ along) * along
    across /= np.linalg.norm(across)
    vector = cosine * along + math.sqrt(1 - cosine**2) * across
    return vector.astype("<f4").tobytes()


def document(
    document_id: str,
    texts: Iterable[str] = ("a text",),
    metadata: Mapping[str, MetadataValue] | None = None,
    seed: int = 0,
) -> Document:
    """A document with one chunk for each text; its vectors follow from `seed` and position."""
    chunks = [
        Chunk(
            chunk_id=f"{document_id}#{position}",
            position=position,
            text=text,
            start=position * 10,
            end=position * 10 + len(text),
            section=f"section {position}",
            vector=vector_of(seed * 100 + position),
        )
        for position, text in enumerate(texts)
    ]
    return Document(document_id, "A title", "a/source.md", metadata or {}, f"h{seed}", chunks)


def corpus(size: int = 60) -> list[Document]:
    """Documents of one to four chunks, with metadata of every type."""
    draw = np.random.default_rng(7)
    return [
        document(
            f"doc-{number:03}",
            [" ".join(draw.choice(WORDS, size=6)) for _ in range(1 + number % 4)],
            {
                "language": "es" if number % 3 else "en",
                "year": 2000 + number % 25 if number % 2 else float(2000 + number % 25),
                "draft": number % 5 == 0,
                **({"year_text": "2010"} if number % 7 == 0 else {}),
            },
            seed=number + 1,
        )
        for number in range(size)
    ]


def rising(size: int) -> Document:
    """A document whose chunks, by position, hold "viento" more often and fall away from `QUERY`.

    The cosine of position n is 1 - n / 160; the text of each has the same number of words.
    """
    texts = ["viento " * (n + 1) + "piedra " * (size - n) for n in range(size)]
    plain = document("d", texts)
    chunks = [
        replace(each, vector=vector_at(1 - each.position / 160, each.position))
        for each in plain.chunks
    ]
    return replace(plain, chunks=chunks)


def in_space(one: Document, space: EmbeddingSpace) -> Document:
    """The same document with as much of each vector as the space has dimensions."""
    size = 4 * space.dimensions
    return replace(one, chunks=[replace(c, vector=c.vector[:size]) for c in one.chunks])


async def fill(store: Store, tenant: str, collection: str, documents: Iterable[Document]) -> None:
    """Write the documents, the first one alone and the others at once."""
    first, *others = documents
    await store.put_document(tenant, collection, SPACE, "", first)
    await asyncio.gather(
        *(store.put_document(tenant, collection, SPACE, "", each) for each in others)
    )


@dataclass(frozen=True, slots=True)
class BruteForce:
    """The right answers over some documents, computed the plain way."""

    documents: list[Document]

    def kept(self, keep: Callable[[Document], bool]) -> "BruteForce":
        """The same over the documents that `keep` accepts."""
        return BruteForce([each for each in self.documents if keep(each)])

    @property
    def chunks(self) -> list[Chunk]:
        """Every chunk."""
        return list(itertools.chain.from_iterable(each.chunks for each in self.documents))

    def cosines(self, query: bytes) -> dict[str, float]:
        """Each chunk's cosine similarity, best first."""
        wanted = unit(query)
        found = {each.chunk_id: float(unit(each.vector) @ wanted) for each in self.chunks}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def containing(self, *words: str) -> set[str]:
        """The ids of the chunks whose text has any of the words as it is."""
        return {each.chunk_id for each in self.chunks if set(words) & set(each.text.split())}

    def fused(self, query: bytes, text_ranking: list[str], top_k: int) -> dict[str, float]:
        """Each chunk's score fused from cosine and a full-text ranking, best first."""
        depth = fusion_depth(top_k)
        cosines = self.cosines(query)
        scores = fuse(list(cosines)[:depth], text_ranking[:depth])
        best = sorted(scores, key=lambda key: (-scores[key], -cosines[key], key))
        return {key: scores[key] for key in best}
