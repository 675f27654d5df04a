"""A process of its own that takes as much as it gets: `counting_process.py URL TENANT LIMIT`."""

import asyncio
import sys

from pydantic import SecretStr

from service_core.limits.port import Demand, Grant
from service_core.limits.shared import SharedLimits

CALLERS, CALLS = 8, 100


async def count(url: str, tenant: str, limit: int) -> int:
    """How many requests were let in."""
    store = SharedLimits(SecretStr(url), answer_seconds=20)

    async def caller() -> int:
        got = 0
        for _ in range(CALLS):
            taken = await store.take(tenant, Demand(requests=limit, tokens=10 * limit, estimate=10))
            got += isinstance(taken, Grant)
        return got

    await store.take("warm", Demand(requests=100))
    print("ready", flush=True)  # noqa: T201 # for its parent
    await asyncio.to_thread(sys.stdin.readline)
    got = sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))
    await store.aclose()
    return got


if __name__ == "__main__":
    print(asyncio.run(count(sys.argv[1], sys.argv[2], int(sys.argv[3]))))  # noqa: T201 # for its parent
