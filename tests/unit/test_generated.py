"""`generated/` is what the protos say, and the protos are formatted, linted and compatible."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sysconfig.get_path("scripts")) / "buf"


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_is_what_the_protos_say() -> None:
    _run(sys.executable, "protos/generate.py", "--check")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["lint"], id="lint"),
        pytest.param(["format", "--diff", "--exit-code"], id="format"),
        pytest.param(["breaking", "--against", "protos/image.binpb"], id="breaking"),
    ],
)
def test_buf_finds_nothing(arguments: list[str]) -> None:
    _run(BUF, *arguments)


def test_only_a_proto_with_a_service_has_client_and_server_stubs() -> None:
    stubs = {path.name for path in (ROOT / "generated").rglob("*_pb2_grpc.py")}
    services = {f"{proto.stem}_pb2_grpc.py" for proto in (ROOT / "protos").rglob("*_service.proto")}
    assert stubs == services
