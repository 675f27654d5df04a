"""TensorZero's embedded gateway and Haystack's pipeline: each in a process of its own."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from bench.cost.figures import Figures
from bench.peers.environments import python_of

_DRIVERS = Path(__file__).parent / "drivers"


async def drive(name: str, folder: Path, provider: int, *, count: int, at_once: int) -> Figures:
    """Run a library's driver: it makes the requests itself, and says what they cost."""
    arguments: Sequence[str] = (str(folder), str(provider), str(count), str(at_once))
    process = await asyncio.create_subprocess_exec(
        str(python_of(name)),
        str(_DRIVERS / f"{name}.py"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} failed:\n{errors.decode(errors='replace')[-2000:]}")
    # A library may log to the same place, also after the driver has said what it found.
    (figures,) = (line for line in output.splitlines() if line.startswith(b"{"))
    return Figures(**json.loads(figures))
