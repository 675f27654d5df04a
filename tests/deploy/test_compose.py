"""compose.yaml: what the specification says of it, what it promises, and its first step."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from service_core.identity.tokens import digest_of
from tests.deploy.dockerfile import ROOT, stages
from tests.deploy.starting import would_start

FOLDER = ROOT / "deploy"
COMPOSE: Any = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
OURS = ("agent-execution", "query", "embedding")
EVERY = tuple(COMPOSE["services"])


def test_it_is_what_the_specification_says() -> None:
    schemas = Path(check_jsonschema.__file__).with_name("builtin_schemas") / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(COMPOSE, schema)
    wrong = {**COMPOSE, "services": {"query": {"imagee": "x"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("name", EVERY)
def test_a_container_may_do_as_little_as_it_can(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name != "milvus")
    assert "privileged" not in service
    tag = service["image"].partition(":")[2]
    assert re.search(r"\d+\.\d+\.\d+|RELEASE\.\d{4}", tag), "a release, never `latest`"


@pytest.mark.parametrize("name", EVERY)
def test_what_a_container_waits_for_can_come(name: str) -> None:
    for other, how in COMPOSE["services"][name].get("depends_on", {}).items():
        needed = COMPOSE["services"][other]
        if how["condition"] == "service_healthy":
            # Ours have the image's own.
            assert "test" in needed.get("healthcheck", {}) or other in OURS
        else:
            assert needed["restart"] == "no"


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for found in COMPOSE["services"].values() for port in found.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    inside = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    for name in ("redis", "milvus", "etcd", "minio", "collector", "prometheus"):
        assert set(COMPOSE["services"][name]["networks"]) <= inside


def test_only_query_reaches_the_store_and_nobody_finds_a_password_in_the_file() -> None:
    reaching = {name for name in EVERY if "store" in COMPOSE["services"][name].get("networks", [])}
    assert reaching == {"query", "milvus", "etcd", "minio"}
    for found in COMPOSE["services"].values():
        for name, value in (found.get("environment") or {}).items():
            if "PASSWORD" in name or "SECRET" in name:
                assert value.startswith("${CASCADA_")
                assert ":?" in value


def test_files_that_are_mounted_exist() -> None:
    for found in COMPOSE["services"].values():
        for volume in found.get("volumes", []):
            if isinstance(volume, str) and volume.startswith("./"):
                assert (FOLDER / volume.partition(":")[0]).exists(), volume


def _prepare(folder: Path) -> None:
    own = FOLDER / "compose"
    subprocess.run(
        [sys.executable, own / "prepare.py", folder, own / "configuration.json"],
        check=True,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


async def test_services_would_start_with_what_is_prepared(tmp_path: Path) -> None:
    _prepare(tmp_path)
    for name in OURS:
        service = COMPOSE["services"][name]
        process = await would_start(service["environment"], {"/etc/cascada": tmp_path / name})
        assert process.tls is not None
        document = json.loads((tmp_path / name / "cascada.json").read_text(encoding="utf-8"))
        tokens = document["identity"]["tokens"]
        if name != "embedding":
            own = (tmp_path / name / "token").read_text(encoding="utf-8")
            assert tokens[name]["sha256"] == digest_of(own)
            assert tokens[name]["roles"] == ["service"]
        assert service["command"] == ["serve", name]
        volume = service["volumes"][0]
        assert (volume["volume"]["subpath"], volume["read_only"]) == (name, True)


def test_what_is_prepared_once_is_kept(tmp_path: Path) -> None:
    _prepare(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept if path.parent.name != "made")
    before = [path.read_bytes() for path in kept]
    _prepare(tmp_path)
    assert [path.read_bytes() for path in kept] == before


def test_a_container_is_given_the_time_that_its_requests_have() -> None:
    for name in OURS:
        # 5 s to settle and 20 s of grace are the services' defaults.
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > 25
    assert stages()[-1].last("STOPSIGNAL").text == "SIGTERM"
