"""What `doctor` and `capabilities` show of the circuits."""

import json

import pytest
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1 import model_provider_pb2

from cli.checks import Finding, State
from cli.circuits import circuit_findings
from config_core.errors import PermissionDeniedError
from config_core.settings import Settings
from tests.unit.cli.fake_services import CommandLine, FakeServices, serving

OPENAI = model_provider_pb2.MODEL_PROVIDER_OPENAI
GROQ = model_provider_pb2.MODEL_PROVIDER_GROQ
NOBODY = "127.0.0.1:1"


def _fill(fake: FakeServices, **circuits: pb.CircuitState.ValueType) -> None:
    fake.capabilities = pb.ListCapabilitiesResponse(
        providers=[
            pb.ProviderCapabilities(provider=provider, circuit=circuits[name])
            for name, provider in (("openai", OPENAI), ("groq", GROQ))
            if name in circuits
        ],
        endpoints=[
            pb.EndpointCapabilities(name=name, provider=OPENAI, circuit=circuit)
            for name, circuit in circuits.items()
            if name not in ("openai", "groq")
        ],
    )


async def _findings(query: str, embedding: str = NOBODY) -> dict[str, Finding]:
    settings = Settings(query_target=query, embedding_target=embedding)
    return {finding.what: finding for finding in await circuit_findings(settings)}


async def test_each_circuit_of_a_service_that_runs_is_a_finding(cascada: CommandLine) -> None:
    _fill(
        cascada.fake,
        openai=pb.CIRCUIT_STATE_CLOSED,
        groq=pb.CIRCUIT_STATE_HALF_OPEN,
        house=pb.CIRCUIT_STATE_OPEN,
    )
    findings = await _findings(cascada.target)
    assert {name: finding.state for name, finding in findings.items()} == {
        "openai": State.OK,
        "groq": State.NOTE,
        "house": State.BROKEN,
    }
    assert findings["openai"].detail == "closed at query"
    assert findings["groq"].detail == "half open at query"
    assert findings["house"].detail.startswith("open at query: ")


async def test_what_was_never_called_is_no_finding(cascada: CommandLine) -> None:
    _fill(cascada.fake, openai=pb.CIRCUIT_STATE_UNSPECIFIED, house=pb.CIRCUIT_STATE_UNSPECIFIED)
    assert await _findings(cascada.target) == {}


async def test_the_worst_of_both_services_decides_and_each_is_told(cascada: CommandLine) -> None:
    other = FakeServices()
    _fill(cascada.fake, openai=pb.CIRCUIT_STATE_CLOSED)
    _fill(other, openai=pb.CIRCUIT_STATE_OPEN)
    with serving(other) as embedding:
        finding = (await _findings(cascada.target, embedding))["openai"]
    assert finding.state is State.BROKEN
    assert finding.detail.startswith("closed at query, open at embedding: ")


async def test_where_no_service_runs_there_is_no_finding() -> None:
    assert await _findings(NOBODY) == {}


async def test_a_service_that_refuses_to_tell_is_no_finding(cascada: CommandLine) -> None:
    cascada.fake.error = PermissionDeniedError("Not you.")
    assert await _findings(cascada.target) == {}


def test_doctor_shows_the_circuits(cascada: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(cascada.fake, house=pb.CIRCUIT_STATE_OPEN)
    monkeypatch.setenv("CASCADA_QUERY_TARGET", cascada.target)
    result = cascada.bare("doctor", "--json")
    checks = {
        (check["area"], check["what"]): check for check in json.loads(result.stdout)["checks"]
    }
    assert checks["circuits", "house"]["state"] == "broken"
    assert result.exit_code == 1


def test_capabilities_show_the_circuits(
    cascada: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    _fill(cascada.fake, openai=pb.CIRCUIT_STATE_HALF_OPEN, house=pb.CIRCUIT_STATE_UNSPECIFIED)
    lines = cascada("capabilities").stdout.splitlines()
    assert any("openai" in line and "half open" in line for line in lines)
    assert any("house" in line and "–" in line for line in lines)
