"""A staged collection takes the place of the one that serves, in one step and losing no write.

Both names are held while their documents are compared. A writer that had begun before looks its
name up once more when it is done: it then waits, and begins anew if the name has come to mean
another generation. A hold ends by itself, lest a crash close a collection for good.
"""

import asyncio
import time
from dataclasses import replace

from query.store.errors import CollectionNotFoundError, StoreUnavailableError
from query.store.milvus.catalog import Catalog, Scope
from query.store.milvus.clearing import Clearing
from query.store.milvus.documents import Documents
from query.store.model import MAX_PAGE_SIZE, staged

HOLD_SECONDS = 120.0
"""How long the documents may be compared."""

MARGIN_SECONDS = 90.0
"""What the last step may take, and clocks may differ."""


async def promote(
    catalog: Catalog, documents: Documents, clearing: Clearing, tenant: str, name: str
) -> bool:
    """Let `staged(name)` take the place of `name`; False where their documents differ."""
    old, new = await asyncio.gather(
        catalog.unheld(tenant, name), catalog.unheld(tenant, staged(name))
    )
    if old.scope is None or new.scope is None:
        raise CollectionNotFoundError(name)
    began = time.monotonic()
    until = time.time() + HOLD_SECONDS + MARGIN_SECONDS
    await catalog.write(replace(old, held_until=until), replace(new, held_until=until))
    same = in_time = False
    try:
        same = await _same(documents, old.scope, new.scope)
        in_time = time.monotonic() - began <= HOLD_SECONDS
    finally:
        if not (same and in_time):
            await catalog.write(old, new)
    if not in_time:
        raise StoreUnavailableError("The two collections could not be compared in time; try again.")
    if not same:
        return False
    served = replace(old, generation=new.generation, space=new.space)
    await clearing.end(old.scope, served, new.given_up())
    return True


async def _same(documents: Documents, one: Scope, other: Scope) -> bool:
    """Whether both hold the same documents, by id and content."""
    after = ""
    while True:
        first, second = await asyncio.gather(
            documents.page(one, after, MAX_PAGE_SIZE), documents.page(other, after, MAX_PAGE_SIZE)
        )
        if [(each.document_id, each.content_hash) for each in first] != [
            (each.document_id, each.content_hash) for each in second
        ]:
            return False
        if len(first) < MAX_PAGE_SIZE:
            return True
        after = first[-1].document_id
