"""Chats through TensorZero's embedded gateway.

Arguments: a folder, the provider's port, how many requests, how many at once.
"""

import asyncio
import os
import sys
from pathlib import Path

# A driver has the name of its library, which has to be found first.
sys.path.append(sys.path.pop(0))

from measuring import report
from tensorzero import AsyncTensorZeroGateway

CONFIGURATION = """
[gateway]
disable_pseudonymous_usage_analytics = true
observability.enabled = false

[models.bench]
routing = ["openai"]

[models.bench.providers.openai]
type = "openai"
model_name = "bench-model"
api_base = "http://127.0.0.1:{port}/v1/"
"""


async def main(folder: str, port: str, count: str, at_once: str) -> None:
    """Measure."""
    os.environ["OPENAI_API_KEY"] = "sk-bench"
    place = Path(folder) / "tensorzero.toml"
    place.write_text(CONFIGURATION.format(port=port), "utf-8")
    gateway = await AsyncTensorZeroGateway.build_embedded(config_file=str(place), async_setup=True)
    messages = [{"role": "user", "content": "Which river flows through the town?"}]

    async def request() -> object:
        return await gateway.inference(model_name="bench", input={"messages": messages})

    await report(request, int(count), int(at_once))


asyncio.run(main(*sys.argv[1:]))
