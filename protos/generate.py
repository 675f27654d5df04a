"""Write `generated/` from the protos: messages, their stubs, and clients and servers for services.

    python protos/generate.py            delete generated/, then write it anew
    python protos/generate.py --check    change nothing; exit 1 and list what differs

Only this program writes `generated/`. `google.protobuf` comes from the installed packages and is
never generated. Plugins are those of the running interpreter's environment, so the versions that
the lock pins are the versions that write.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS.parent / "generated"


class GenerationError(Exception):
    """The compiler refused the protos; its own message is on standard error."""


def _defines_service(proto: Path) -> bool:
    lines = proto.read_text(encoding="utf-8").splitlines()
    return any(line.startswith("service ") for line in lines)


def _plugin(name: str) -> str:
    return f"--plugin={name}={Path(sysconfig.get_path('scripts')) / name}"


def _protoc(*arguments: str, protos: list[Path]) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *arguments]
    names = [proto.relative_to(PROTOS).as_posix() for proto in protos]
    if subprocess.run([*command, *names], cwd=PROTOS, check=False).returncode:
        raise GenerationError("protoc failed")


def generate(target: Path) -> None:
    """Replace the folder `target` by what the protos say; raises GenerationError."""
    protos = sorted(PROTOS.rglob("*.proto"))
    services = [proto for proto in protos if _defines_service(proto)]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    _protoc(
        _plugin("protoc-gen-mypy"),
        f"--python_out={target}",
        f"--mypy_out=quiet:{target}",
        protos=protos,
    )
    _protoc(
        _plugin("protoc-gen-mypy_grpc"),
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet,only_async:{target}",
        protos=services,
    )


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(committed: Path, fresh: Path) -> list[str]:
    """Return a line for each file that is missing, left over or different in `committed`."""
    have, want = _files(committed), _files(fresh)
    _, changed, unreadable = filecmp.cmpfiles(committed, fresh, have & want, shallow=False)
    return sorted(
        [f"{name}: missing" for name in want - have]
        + [f"{name}: left over" for name in have - want]
        + [f"{name}: different" for name in changed + unreadable]
    )


def check(committed: Path = GENERATED) -> list[str]:
    """Return how the folder `committed` differs from a fresh generation; empty if it does not."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "generated"
        generate(fresh)
        return differences(committed, fresh)


def main() -> int:
    """Generate, or with --check compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Write generated/ from the protos.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        generate(GENERATED)
        return 0
    stale = check()
    for line in stale:
        print(f"generated/{line}", file=sys.stderr)
    if stale:
        print("generated/ is stale: run `make generate`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GenerationError as error:
        sys.exit(str(error))
