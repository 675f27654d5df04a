"""Which layout the tables have: a newer one than this code's is refused."""

import json

from query.store.errors import SchemaTooNewError
from query.store.milvus.connection import Connection
from query.store.milvus.keys import equal
from query.store.milvus.tables import CATALOG, catalog_row

SCHEMA = 1

_KIND = "schema"


async def check_schema(connection: Connection) -> None:
    """Note the layout in a new store; SchemaTooNewError where another process has a newer one."""
    rows = await connection.query(CATALOG, equal("id", _KIND), ("payload",))
    found = json.loads(rows[0]["payload"]) if rows else 0
    if found > SCHEMA:
        raise SchemaTooNewError(found, SCHEMA)
    if found < SCHEMA:
        await connection.upsert(CATALOG, [catalog_row(_KIND, _KIND, payload=SCHEMA)])
