"""The peers' environments, made once below `.bench/`: virtual ones from PyPI, one from npm."""

import asyncio
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.cost.processes import ROOT

FOLDER = ROOT / ".bench"

PYTHON_PEERS: Mapping[str, str] = {
    "litellm": "litellm[proxy]==1.106.2",
    "tensorzero": "tensorzero==2026.6.0",
    "haystack": "haystack-ai==3.4.0",
}
NODE_PEERS: Mapping[str, str] = {"portkey": "@portkey-ai/gateway@1.15.2"}


async def prepare() -> None:
    """Make what is missing; the network is needed for that."""
    for name, requirement in PYTHON_PEERS.items():
        place = FOLDER / name
        if not (place / ".holds").is_file() or (place / ".holds").read_text() != requirement:
            await _run(sys.executable, "-m", "venv", "--clear", str(place))
            await _run(str(python_of(name)), "-m", "pip", "install", "--quiet", requirement)
            (place / ".holds").write_text(requirement)
    for name, package in NODE_PEERS.items():
        place = FOLDER / name
        if not (place / ".holds").is_file() or (place / ".holds").read_text() != package:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            (place / "package.json").write_text("{}")
            await _run("npm", "install", "--no-fund", "--no-audit", package, folder=place)
            (place / ".holds").write_text(package)


def python_of(name: str) -> Path:
    """The interpreter of a peer's virtual environment."""
    return FOLDER / name / "bin" / "python"


async def _run(*command: str, folder: Path | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        tail = output.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{tail}")
