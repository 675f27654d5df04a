import json
from pathlib import Path

import pytest

from cli import diagnosis
from cli.checks import Finding, State, accepts_connections
from config_core.connection import PUBLIC_BASE_URL
from config_core.model_configuration import ModelProvider

# What nobody listens at; port 1 is reserved.
QUIET = {
    f"CASCADA_{name}_PORT": "1" for name in ("AGENT_EXECUTION", "QUERY", "EMBEDDING", "METRICS")
}


@pytest.fixture(autouse=True)
def _providers_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(base_url: str) -> bool:
        return "127.0.0.1" not in base_url

    monkeypatch.setattr(diagnosis, "accepts_connections", answers)


async def _diagnose(folder: Path, **environ: str) -> dict[str, Finding]:
    everything = {**QUIET, "CASCADA_DATA_DIR": str(folder / "data"), **environ}
    findings = await diagnosis.diagnose(everything)
    return {f"{finding.area}: {finding.what}": finding for finding in findings}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _broken(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.state is State.BROKEN}


async def test_an_empty_environment_is_healthy(tmp_path: Path) -> None:
    findings = await _diagnose(tmp_path)
    assert not _broken(findings)
    assert findings["providers: groq"].state is State.MISSING
    assert "GROQ_API_KEY" in findings["providers: groq"].detail


async def test_looking_changes_nothing(tmp_path: Path) -> None:
    await _diagnose(tmp_path)
    assert _names(tmp_path) == []


async def test_a_misspelt_variable_is_found(tmp_path: Path) -> None:
    assert _broken(await _diagnose(tmp_path, CASCADA_TEMPERATUR="1")) == {
        "settings: CASCADA_TEMPERATUR"
    }


async def test_a_key_is_told_by_its_variable_only(tmp_path: Path) -> None:
    findings = await _diagnose(tmp_path, OPENAI_API_KEY="canary-key")
    assert "OPENAI_API_KEY" in findings["providers: openai"].detail
    assert findings["providers: openai"].state is State.OK


async def test_no_secret_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(
        json.dumps(
            {
                "defaults": {"chat_provider": "mistral", "chat_api_key": "canary-1"},
                "secrets": {
                    "s": {"provider": "groq", "tenants": ["*"], "from": {"env": "SECRET_S"}}
                },
            }
        ),
        encoding="utf-8",
    )
    fallbacks = {"alternatives": [{"provider": "openai", "api_key": "canary-2"}]}
    findings = await _diagnose(
        tmp_path,
        CASCADA_CONFIG_FILE=str(file),
        SECRET_S="canary-3",
        CASCADA_FINGERPRINT_KEY="canary-4",
        CASCADA_CHAT_PROVIDER="openai",
        CASCADA_CHAT_API_KEY="canary-5",
        CASCADA_FALLBACKS=json.dumps(fallbacks),
        CASCADA_STORE="postgresql://user:canary-6@host/db?password=canary-7",
        GROQ_API_KEY="canary-8",
    )
    assert "canary" not in str(findings)
    assert findings["secrets: s"].state is State.OK


async def test_a_configured_provider_that_is_not_there_is_broken(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:1"}
    assert _broken(await _diagnose(tmp_path, **environ)) == {"providers: openai"}


async def test_a_public_address_that_nobody_has_a_key_for_is_not_knocked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knocked: list[str] = []

    async def accepts(base_url: str) -> bool:
        knocked.append(base_url)
        return True

    monkeypatch.setattr(diagnosis, "accepts_connections", accepts)
    findings = await _diagnose(tmp_path, GROQ_API_KEY="k", MISTRAL_BASE_URL="http://127.0.0.1:1")
    assert set(knocked) == {PUBLIC_BASE_URL[ModelProvider.GROQ], "http://127.0.0.1:1"}
    assert findings["providers: openai"].state is State.MISSING


async def test_an_invalid_file_is_told_with_the_path_inside_it(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"defaults": {"temperature": 9}}', encoding="utf-8")
    findings = await _diagnose(tmp_path, CASCADA_CONFIG_FILE=str(file))
    assert _broken(findings) == {"configuration: defaults.temperature"}


async def test_a_secret_that_is_not_there_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    secret = {"provider": "groq", "tenants": ["*"], "from": {"env": "NOT_SET"}}
    file.write_text(json.dumps({"secrets": {"s": secret}}), encoding="utf-8")
    findings = await _diagnose(tmp_path, CASCADA_CONFIG_FILE=str(file))
    assert _broken(findings) == {"secrets: s"}


async def test_a_configured_target_that_nobody_serves_is_broken(tmp_path: Path) -> None:
    findings = await _diagnose(tmp_path, CASCADA_QUERY_TARGET="127.0.0.1:1")
    assert _broken(findings) == {"services: query"}


async def test_a_default_without_a_key_is_broken(tmp_path: Path) -> None:
    findings = await _diagnose(tmp_path, CASCADA_CHAT_PROVIDER="groq")
    assert _broken(findings) == {"configuration: chat by default"}


async def test_a_file_in_the_stores_place_is_broken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "store.db").write_text("no database, but long enough" * 99)
    assert _broken(await _diagnose(tmp_path)) == {"store: sqlite"}


async def test_a_model_file_that_is_not_there_is_broken(tmp_path: Path) -> None:
    findings = await _diagnose(tmp_path, CASCADA_LOCAL_CHAT_MODEL_PATH=str(tmp_path / "m.gguf"))
    assert _broken(findings) == {"local models: chat model"}


@pytest.mark.parametrize("url", ["https://house.example:99999/v1", "https://house.example:port/v1"])
async def test_an_address_whose_port_is_none_accepts_no_connections(url: str) -> None:
    assert not await accepts_connections(url)


async def test_a_store_that_cannot_be_made_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    findings = await _diagnose(tmp_path, CASCADA_DATA_DIR=str(tmp_path / "file" / "data"))
    assert _broken(findings) == {"store: sqlite"}
    assert "CASCADA_DATA_DIR" in findings["store: sqlite"].detail
