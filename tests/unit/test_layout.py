"""The shape of the repository: who may import whom, and what no file may name."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What each package may import of ours, besides itself; `cascada` is the generated code.
MAY_IMPORT = {
    "config_core": {"cascada"},
    "service_core": {"cascada", "config_core"},
    "embedding": {"cascada", "config_core", "service_core"},
    "query": {"cascada", "config_core", "service_core"},
    "agent_execution": {"cascada", "config_core", "service_core"},
    "cli": {
        "cascada",
        "config_core",
        "service_core",
        "embedding",
        "query",
        "agent_execution",
    },
}
OURS = {"cascada", *MAY_IMPORT, "tests", "bench", "protos"}
SERVICES = ("embedding", "query", "agent_execution")
WIRE = {"cascada", "grpc", "grpc_health", "grpc_reflection", "grpc_status", "google"}
SPEAKS_GRPC = {"query/store/milvus/driver.py"}
"""Milvus' own protocol is gRPC: its driver's errors are read in this one module."""

# In parts, so that this file does not name them either.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs"),
        ("deb", "debian", "org"),
        ("proxy", "golang"),
    )
]


def _imports(module: Path) -> set[str]:
    """Return the dotted names that a module imports, relative ones made absolute."""
    names = set[str]()
    package = module.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            names.add(".".join((*above, *([node.module] if node.module else []))))
    return names


def _modules(package: str) -> list[Path]:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules, f"{package} holds no module"
    return modules


def _top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down_the_layers_only(package: str) -> None:
    forbidden = OURS - MAY_IMPORT[package] - {package}
    offences = [
        f"{module.relative_to(ROOT)} imports {name}"
        for module in _modules(package)
        for name in sorted(_imports(module))
        if _top(name) in forbidden
    ]
    assert offences == []


@pytest.mark.parametrize("package", SERVICES)
def test_services_stores_and_providers_know_nothing_of_the_wire(package: str) -> None:
    inner = [
        module
        for module in _modules(package)
        if module.name == "service.py"
        or {"store", "providers"} & set(module.relative_to(ROOT).parent.parts)
    ]
    assert ROOT / package / "service.py" in inner
    offences = [
        f"{module.relative_to(ROOT)} imports {name}"
        for module in inner
        for name in sorted(_imports(module))
        if _top(name) in WIRE and module.relative_to(ROOT).as_posix() not in SPEAKS_GRPC
    ]
    assert offences == []


def test_no_file_names_a_package_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert files
    offences = [
        f"{file.relative_to(ROOT)} names {host}"
        for file in files
        for host in REGISTRY_HOSTS
        if host.encode() in file.read_bytes()
    ]
    assert offences == []


def test_both_locks_pin_a_shared_package_to_the_same_version() -> None:
    pins = dict[str, set[str]]()
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        for line in lock.read_text(encoding="utf-8").splitlines():
            name, separator, version = line.removesuffix(" \\").partition("==")
            if separator:
                pins.setdefault(name, set()).add(version)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}
