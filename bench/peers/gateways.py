"""LiteLLM's proxy and Portkey's gateway: servers that pass a chat on to the canned provider."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bench.cost.processes import free_port, listening, running
from bench.cost.works import QUESTION, Prepared
from bench.peers.environments import FOLDER

_MODEL = "bench-model"


@asynccontextmanager
async def litellm(folder: Path, provider: int, *, stream: bool = False) -> AsyncIterator[Prepared]:
    """LiteLLM's proxy, one worker."""
    port = free_port()
    place = folder / "litellm.yaml"
    parameters = {
        "model": f"openai/{_MODEL}",
        "api_base": f"http://127.0.0.1:{provider}/v1",
        "api_key": "sk-bench",
    }
    models = [{"model_name": _MODEL, "litellm_params": parameters}]
    # JSON is YAML.
    place.write_text(json.dumps({"model_list": models, "litellm_settings": {"telemetry": False}}))
    program = str(FOLDER / "litellm" / "bin" / "litellm")
    command = [program, "--config", str(place), "--port", str(port), "--host", "127.0.0.1"]
    own = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "PYTHONPATH": "",
    }
    async with running(command, own) as pid, aiohttp.ClientSession() as session:
        await listening(port, 180)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        yield Prepared(_chat(session, url, {}, stream=stream), [pid])


@asynccontextmanager
async def portkey(folder: Path, provider: int, *, stream: bool = False) -> AsyncIterator[Prepared]:
    """Portkey's gateway."""
    port = free_port()
    script = FOLDER / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", str(script), f"--port={port}", "--headless"]
    own = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    async with running(command, own, folder=folder) as pid, aiohttp.ClientSession() as session:
        await listening(port)
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{provider}/v1",
            "Authorization": "Bearer sk-bench",
        }
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        yield Prepared(_chat(session, url, headers, stream=stream), [pid])


def _chat(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], *, stream: bool
) -> Callable[[int], Awaitable[object]]:
    body = {"model": _MODEL, "messages": [{"role": "user", "content": QUESTION}], "stream": stream}

    async def ask(_: int) -> object:
        async with session.post(url, json=body, headers=headers) as response:
            text = await response.text()
            if response.status != 200 or ("[DONE]" if stream else "answer") not in text:
                raise RuntimeError(f"The gateway answered {response.status}: {text[:300]}")
            return text

    return ask
