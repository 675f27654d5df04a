"""The type of a connection, whether of the pool or on its own."""

from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

# The driver's classes are generic for the type checker alone.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
