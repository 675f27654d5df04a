"""`python -m tests.system.gated_model`: the embedding service, whose local model takes its time.

It is loaded when a line comes on standard input: `load`, or anything else for a model that fails.
"""

import asyncio
import sys
from unittest.mock import patch

from embedding.app import build
from embedding.providers.local import LocalEmbeddingProvider
from service_core.entry import run


async def _load_when_told(_provider: LocalEmbeddingProvider) -> None:
    line = await asyncio.to_thread(sys.stdin.readline)
    if line.strip() != "load":
        raise RuntimeError("the gate says no")


if __name__ == "__main__":
    with patch.object(LocalEmbeddingProvider, "load", _load_when_told):
        run([build])
