"""How long a service takes from the start of its process to health SERVING, without local models.

The ratio to a process that does nothing but `import grpc` compares machines of different speed.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from bench.pages import PERFORMANCE, publish

ROOT = Path(__file__).resolve().parents[1]
STARTS = 5
TARGET_SECONDS = 1.5

_START_SECONDS = 30.0
_POLL_SECONDS = 0.01

PROGRAMS: Mapping[str, Sequence[str]] = {
    "embedding": ("-m", "embedding"),
    "query": ("-m", "query"),
    "agent execution": ("-m", "agent_execution"),
    "all three in one": ("-m", "cli", "serve", "all"),
}


def main() -> None:
    """Measure, print the table and write it into the page."""
    bare = [_timed(_bare) for _ in range(STARTS)]
    table = Table(title=f"Cold start to SERVING, {STARTS} starts each, target {TARGET_SECONDS} s")
    table.add_column("service")
    for name in ("min s", "median s", "max s", "median / bare"):
        table.add_column(name, justify="right")
    _row(table, "bare: import grpc", bare, bare)
    for name, arguments in PROGRAMS.items():
        _row(table, name, [_until_serving(arguments) for _ in range(STARTS)], bare)
    publish(PERFORMANCE, "cold_start", table)


def _row(table: Table, name: str, seconds: Sequence[float], bare: Sequence[float]) -> None:
    figures = [f"{figure:.2f}" for figure in (min(seconds), median(seconds), max(seconds))]
    table.add_row(name, *figures, f"{median(seconds) / median(bare):.1f}")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _bare() -> None:
    command = [sys.executable, "-c", "import grpc"]
    subprocess.run(command, check=True, env=_environ())  # noqa: S603 # it is written here


def _until_serving(arguments: Sequence[str]) -> float:
    """Start a program in an empty folder; the seconds until its health says SERVING."""
    ports = random.sample(range(20_000, 32_000), 3)
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            **_environ(),
            "CASCADA_CHAT_PROVIDER": "openai",
            "CASCADA_EMBEDDING_PROVIDER": "openai",
            "CASCADA_EMBEDDING_PORT": str(ports[0]),
            "CASCADA_QUERY_PORT": str(ports[1]),
            "CASCADA_AGENT_EXECUTION_PORT": str(ports[2]),
            "CASCADA_METRICS_PORT": "0",
            "CASCADA_LOG_LEVEL": "warning",
        }
        watched = ports if "all" in arguments else [ports[list(PROGRAMS.values()).index(arguments)]]
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 # our own services
            [sys.executable, *arguments], env=environ, cwd=folder, stderr=subprocess.DEVNULL
        )
        try:
            for port in watched:
                _wait_until_serving(process, port, began + _START_SECONDS)
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()


def _wait_until_serving(process: "subprocess.Popen[bytes]", port: int, end: float) -> None:
    while time.perf_counter() < end:
        if process.poll() is not None:
            sys.exit(f"The service ended with exit code {process.returncode} instead of serving.")
        # A channel of its own each time: one that has failed would wait before it tries again.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            try:
                state = check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.RpcError:
                time.sleep(_POLL_SECONDS)
                continue
        if state.status == health_pb2.HealthCheckResponse.SERVING:
            return
        time.sleep(_POLL_SECONDS)
    sys.exit(f"The service on port {port} did not serve within {_START_SECONDS:.0f} s.")


def _environ() -> dict[str, str]:
    """Nothing that configures the services."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "generated")]),
    }
