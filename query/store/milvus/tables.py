"""The tables of the store: Milvus' collections, which hold those of all tenants.

cascada_catalog      a row for each collection's name, and what is under way or to be cleared away
cascada_documents    a row for each document: which version of it counts
cascada_chunks_N     the passages of all collections whose vectors have N dimensions

A `generation` is one life of one collection. Milvus wants a vector in every table; where none is
meant it has two dimensions and is never searched.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from query.store.milvus.connection import READ_SECONDS, TABLE_SECONDS, Connection
from query.store.milvus.driver import was_answered
from query.store.milvus.pieces import FIELD_BYTES
from query.store.milvus.words import ANALYZER

CATALOG = "cascada_catalog"
DOCUMENTS = "cascada_documents"
NO_VECTOR = [1.0, 0.0]

_KEY = 64
_LONG_KEY = 8192
_FULL_TEXT_SINCE = (2, 5)
_ATTEMPTS = 4
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """A table of passages."""

    name: str
    full_text: bool
    """Whether it is indexed by words: Milvus can do so since 2.5."""


@dataclass(frozen=True, slots=True)
class _Layout:
    name: str
    texts: Mapping[str, int]
    """Each field's greatest length in bytes."""
    numbers: tuple[str, ...]
    looked_up: tuple[str, ...] = ()
    dimensions: int = 0
    """Above 0 for a table of passages."""


_CATALOG = _Layout(
    CATALOG,
    {"kind": _KEY, "generation": _KEY, "version": _KEY, "document": _LONG_KEY,
     "payload": FIELD_BYTES},
    ("started",),
)  # fmt: skip
_DOCUMENTS = _Layout(
    DOCUMENTS,
    {"generation": _KEY, "version": _KEY, "payload": FIELD_BYTES},
    ("committed", "parts"),
    ("generation",),
)


def _chunks(dimensions: int) -> _Layout:
    return _Layout(
        f"cascada_chunks_{dimensions}",
        {"generation": _KEY, "version": _KEY, "chunk_key": _KEY, "document": _LONG_KEY,
         "chunk_id": FIELD_BYTES, "payload": FIELD_BYTES},
        ("position", "part", "parts"),
        ("generation", "document", "chunk_key"),
        dimensions,
    )  # fmt: skip


def catalog_row(
    key: str,
    kind: str,
    *,
    generation: str = "",
    document: str = "",
    version: str = "",
    started: int = 0,
    payload: object = None,
) -> dict[str, Any]:
    """A row of the catalogue; the payload becomes JSON."""
    return {
        "id": key,
        "kind": kind,
        "generation": generation,
        "document": document,
        "version": version,
        "started": started,
        "payload": json.dumps(payload, ensure_ascii=False),
        "vector": NO_VECTOR,
    }


class Tables:
    """Makes each table, with its indexes and in memory, before it is first used."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chunks: dict[int, ChunkTable] = {}
        self._making = asyncio.Lock()

    async def open(self) -> None:
        """Make the tables that every collection needs."""
        for layout in (_CATALOG, _DOCUMENTS):
            await self._make(layout)

    async def chunks(self, dimensions: int) -> ChunkTable:
        """The table of passages with vectors of that many dimensions."""
        if dimensions not in self._chunks:
            async with self._making:
                if dimensions not in self._chunks:
                    self._chunks[dimensions] = await self._make(_chunks(dimensions))
        return self._chunks[dimensions]

    async def _make(self, layout: _Layout) -> ChunkTable:
        return await self._connection.on_client(TABLE_SECONDS, lambda client: _make(client, layout))


def _make(client: Any, layout: _Layout) -> ChunkTable:
    """Create, index and load the table; other processes may be at it at the same time."""
    modern = _has_full_text(str(client.get_server_version(timeout=READ_SECONDS)))
    for _ in range(_ATTEMPTS):
        try:
            return _attempt(client, layout, modern=modern)
        except Exception as error:
            # "It exists", "it has no index yet": each server says it in its own way.
            if not was_answered(error):
                raise
            time.sleep(_PAUSE_SECONDS)
    return _attempt(client, layout, modern=modern)


def _attempt(client: Any, layout: _Layout, *, modern: bool) -> ChunkTable:
    if not client.has_collection(layout.name, timeout=READ_SECONDS):
        # In one shard, what one call writes is there for every reader at once.
        client.create_collection(
            layout.name,
            schema=_schema(client, layout, modern=modern),
            num_shards=1,
            consistency_level="Strong",
            timeout=TABLE_SECONDS,
        )
    description = client.describe_collection(layout.name, timeout=READ_SECONDS)
    full_text = any(field["name"] == "bm25" for field in description["fields"])
    there = client.list_indexes(layout.name, timeout=READ_SECONDS)
    for index in _indexes(layout, modern=modern, full_text=full_text):
        if index["field_name"] not in there:
            parameters = client.prepare_index_params()
            parameters.add_index(index_name=index["field_name"], **index)
            client.create_index(layout.name, parameters, timeout=TABLE_SECONDS, sync=False)
    client.load_collection(layout.name, timeout=TABLE_SECONDS)
    return ChunkTable(layout.name, full_text)


def _schema(client: Any, layout: _Layout, *, modern: bool) -> Any:
    from pymilvus import DataType, Function, FunctionType  # noqa: PLC0415 - see `driver`

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, max_length=_LONG_KEY, is_primary=True)
    for name, size in layout.texts.items():
        schema.add_field(name, DataType.VARCHAR, max_length=size)
    for name in layout.numbers:
        schema.add_field(name, DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=layout.dimensions or len(NO_VECTOR))
    if layout.dimensions:
        schema.add_field("tenant", DataType.VARCHAR, max_length=_KEY, is_partition_key=True)
        schema.add_field("attributes", DataType.JSON)
        if modern:
            schema.add_field(
                "words",
                DataType.VARCHAR,
                max_length=FIELD_BYTES,
                enable_analyzer=True,
                analyzer_params=ANALYZER,
            )
            schema.add_field("bm25", DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(Function("bm25_of_words", FunctionType.BM25, ["words"], ["bm25"]))
    return schema


def _indexes(layout: _Layout, *, modern: bool, full_text: bool) -> Iterator[dict[str, Any]]:
    if layout.dimensions:
        yield {
            "field_name": "vector",
            "index_type": "HNSW",
            "metric_type": "COSINE",
            "params": {"M": 16, "efConstruction": 200},
        }
    else:
        yield {"field_name": "vector", "index_type": "FLAT", "metric_type": "L2"}
    if modern:
        for name in layout.looked_up:
            yield {"field_name": name, "index_type": "INVERTED"}
    if full_text:
        yield {
            "field_name": "bm25",
            "index_type": "SPARSE_INVERTED_INDEX",
            "metric_type": "BM25",
            "params": {"bm25_k1": 1.2, "bm25_b": 0.75},
        }


def _has_full_text(version: str) -> bool:
    """Whether a server of this version has BM25; the small server has had it since its 3.0."""
    if version.startswith("milvus_lite-"):
        return True
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= _FULL_TEXT_SINCE
