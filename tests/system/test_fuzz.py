"""Whatever is sent to any RPC is answered or refused in our own words, and leaves nothing."""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.system.cluster import Cluster
from tests.system.fuzz_scene import RPCS, Fuzzing, document
from tests.system.program import Program
from tests.upstream.server import UpstreamServer

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Scale:
    """How many calls are made, and by how many megabytes the process may have grown after them."""

    warm: int
    calls: int
    growth: int

    def __str__(self) -> str:
        return f"{self.calls} calls"


@dataclass(frozen=True)
class Outcome:
    """What was seen."""

    scale: Scale
    fuzzing: Fuzzing
    warm: int
    """Resident bytes after the first calls."""
    settled: int
    """Resident bytes after all of them."""
    ended: int | None
    """The exit code, if the process had ended by itself."""
    stopped: int
    """The exit code after it was asked to stop."""
    log: str


SCALES = [
    Scale(800, 3_000, growth=48),
    pytest.param(
        Scale(10_000, 100_000, growth=64), marks=[pytest.mark.full, pytest.mark.timeout(3600)]
    ),
]


@pytest.fixture(scope="module", params=SCALES, ids=str)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Run it once for all the tests."""
    return asyncio.run(_run(request.param, tmp_path_factory.mktemp("fuzz")))


def test_no_call_is_a_fault_of_the_services(outcome: Outcome) -> None:
    assert outcome.fuzzing.faults == []
    assert "request_fault" not in outcome.log
    assert "Traceback" not in outcome.log


def test_no_call_ends_the_process(outcome: Outcome) -> None:
    assert outcome.ended is None
    assert outcome.stopped == 0


def test_memory_stays_steady(outcome: Outcome) -> None:
    grown = (outcome.settled - outcome.warm) / MEGABYTE
    assert grown < outcome.scale.growth, f"grown by {grown:.0f} MB"


def test_calls_of_every_rpc_are_answered_and_refused(outcome: Outcome) -> None:
    """Else they would have been turned away at the door, and said nothing."""
    codes = outcome.fuzzing.codes
    for rpc in map(str, RPCS):
        found = {code.name for name, code in codes if name == rpc}
        assert "OK" in found, (rpc, found)
        assert "INVALID_ARGUMENT" in found, (rpc, found)
    assert codes.total() == outcome.scale.calls


async def _run(scale: Scale, folder: Path) -> Outcome:
    async with UpstreamServer() as upstream:
        path = folder / "cascada.json"
        path.write_text(json.dumps(document(upstream)), encoding="utf-8")
        environ = {
            **UPSTREAM_MODELS,
            **base_urls(upstream),
            **{f"{name}_API_KEY": "sk-fuzz-0123456789" for name in ("OPENAI", "GROQ", "MISTRAL")},
            "CASCADA_CONFIG_FILE": str(path),
            "CASCADA_LOG_LEVEL": "info",
            "CASCADA_AUDIT_FILE": str(folder / "audit.log"),
            "CASCADA_AUDIT_CONTENT": "1",
        }
        async with Cluster(folder, environ) as cluster:
            program = await cluster.serve_all()
            fuzzing = Fuzzing(cluster, upstream)
            await fuzzing.send(0, scale.warm)
            warm = _resident(program)
            await fuzzing.send(scale.warm, scale.calls)
            settled = _resident(program)
            ended = program.process.returncode
            stopped = await program.stop()
            return Outcome(scale, fuzzing, warm, settled, ended, stopped, program.text)


def _resident(program: Program) -> int:
    """Bytes in memory; 0 of a process that has ended."""
    if program.process.returncode is not None:
        return 0
    pages = Path(f"/proc/{program.process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
