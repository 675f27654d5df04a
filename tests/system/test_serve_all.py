"""`cascada serve all`: one process, three ports, on the embedded default."""

import asyncio
import json
import sys
from pathlib import Path

from tests.system.asking import UPSTREAM_MODELS
from tests.system.cluster import SERVICES, Cluster
from tests.system.program import Program, run
from tests.system.waiting import until


def children(program: Program) -> list[str]:
    """The processes that a program has started."""
    tasks = Path(f"/proc/{program.process.pid}/task")
    return [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]


async def test_serve_all_is_one_process_on_three_ports(tmp_path: Path) -> None:
    async with Cluster(tmp_path, UPSTREAM_MODELS) as cluster:
        program = await cluster.serve_all()
        if sys.platform == "linux":
            assert children(program) == []
        await until(lambda: bool(program.out.read_text()), "the document that tells it is ready")
        told = json.loads(program.out.read_text())
        assert told == {
            "ready": True,
            "services": {service: cluster.target(service) for service in SERVICES},
        }
        assert await program.stop() == 0


async def test_a_port_that_is_taken_is_told_and_leaves_no_process(tmp_path: Path) -> None:
    async with Cluster(tmp_path, UPSTREAM_MODELS) as cluster:
        await cluster.serve("query")
        second = await cluster.start("-m", "cli", "serve", "all")
        assert await second.ended() != 0
        assert str(cluster.ports["query"]) in second.text
        assert "Traceback" not in second.text


async def test_the_demonstration_runs_and_its_exit_code_is_0(tmp_path: Path) -> None:
    program = await run(sys.executable, "-m", "cli.demo", environ={}, folder=tmp_path, name="demo")
    try:
        async with asyncio.timeout(60):
            assert await program.process.wait() == 0, program.text
    finally:
        await program.stop()
    assert "París" in program.text or "Paris" in program.text
