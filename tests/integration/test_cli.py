"""The command line as a person or script meets it: real processes, a clean environment."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"
QUESTION = "¿Cuál es la capital de Francia?"
_SECONDS = 60.0


def _environment(folder: Path, **more: str) -> dict[str, str]:
    ours = ("CASCADA_", "OPENAI_", "GROQ_", "MISTRAL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Nobody listens at port 1: a server that somebody runs here must not answer.
    quiet = {f"CASCADA_{name}_PORT": "1" for name in ("AGENT_EXECUTION", "QUERY", "EMBEDDING")}
    return {
        **clean,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "CASCADA_DATA_DIR": str(folder / "data"),
        **quiet,
        "CASCADA_METRICS_PORT": "0",
        **more,
    }


def _cascada(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=_environment(folder, **environ),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _document(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _serve(folder: Path, *arguments: str) -> "tuple[subprocess.Popen[str], dict[str, str]]":
    """Starts services on free ports; gives the process and its targets once it is ready."""
    ports = {f"CASCADA_{name}_PORT": "0" for name in ("AGENT_EXECUTION", "QUERY", "EMBEDDING")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", *arguments, "--json"],
            env=_environment(folder, **ports),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    lines = list[str]()
    while line := process.stdout.readline():
        lines.append(line)
        if line == "}\n":
            break
    assert lines, (folder / "log").read_text(encoding="utf-8")
    return process, json.loads("".join(lines))["services"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cascada")


@pytest.fixture(scope="module")
def targets(folder: Path) -> Iterator[Mapping[str, str]]:
    """All three services in one process, with the samples indexed."""
    process, services = _serve(folder, "all")
    try:
        indexed = _cascada(
            folder, "index", str(SAMPLES), "-c", "countries", "--target", services["query"]
        )
        assert indexed.returncode == 0, indexed.stderr
        yield services
    finally:
        process.terminate()
        process.communicate(timeout=_SECONDS)


def test_ask_streams_an_answer_with_passages_and_trace(
    folder: Path, targets: Mapping[str, str]
) -> None:
    arguments = ("ask", QUESTION, "-c", "countries", "--temperature", "0.0")
    done = _cascada(folder, *arguments, "--target", targets["agent-execution"])
    assert done.returncode == 0, done.stderr
    assert "París" in done.stdout or "Paris" in done.stdout
    assert "francia.md (countries, score" in done.stdout
    for hop in ("agent-execution · chat", "query · chat", "embedding · embedding"):
        assert hop in done.stdout
    assert "PREFERENCE" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_ask_as_json_has_the_whole_answer(folder: Path, targets: Mapping[str, str]) -> None:
    arguments = ("ask", QUESTION, "-c", "countries", "--json")
    document = _document(_cascada(folder, *arguments, "--target", targets["agent-execution"]))
    assert document["citations"][0]["document_id"] == "francia.md"
    services = [hop["service"] for hop in document["configuration_trace"]["hops"]]
    assert set(services) == {"agent-execution", "query", "embedding"}


def test_indexing_the_same_again_changes_nothing(folder: Path, targets: Mapping[str, str]) -> None:
    arguments = ("index", str(SAMPLES), "-c", "countries", "--json")
    document = _document(_cascada(folder, *arguments, "--target", targets["query"]))
    assert document["indexed"] == document["failed"] == 0
    assert document["unchanged"] == len(list(SAMPLES.glob("*.md")))


def test_search_finds_the_right_document(folder: Path, targets: Mapping[str, str]) -> None:
    arguments = ("search", "Which river flows through Bern?", "-c", "countries", "--json")
    document = _document(_cascada(folder, *arguments, "--target", targets["query"]))
    assert document["hits"][0]["document_id"] == "switzerland.md"


def test_explain_follows_the_collections_space(folder: Path, targets: Mapping[str, str]) -> None:
    arguments = ("config", "explain", "-c", "countries", "--operation", "embedding", "--json")
    document = _document(_cascada(folder, *arguments, "--target", targets["query"]))
    effective = document["operations"][0]["effective"]
    assert effective["sources"]["embedding_model"] == "CONFIGURATION_SOURCE_COLLECTION"
    assert document["operations"][0]["collections"] == ["countries"]


def test_explain_refuses_what_a_request_would_be_refused_for(
    folder: Path, targets: Mapping[str, str]
) -> None:
    arguments = ("config", "explain", "--temperature", "9", "--json")
    done = _cascada(folder, *arguments, "--target", targets["agent-execution"])
    assert done.returncode == 1
    fields = [violation["field"] for violation in json.loads(done.stdout)["violations"]]
    assert fields == ["model_preferences.temperature"]


def test_a_missing_key_has_its_exit_code_and_names_its_variable(
    folder: Path, targets: Mapping[str, str]
) -> None:
    arguments = ("ask", "hola", "--provider", "groq", "--target", targets["agent-execution"])
    done = _cascada(folder, *arguments)
    assert done.returncode == 5
    assert "GROQ_API_KEY" in done.stderr
    assert done.stdout == ""


def test_an_unknown_collection_is_one_sentence(folder: Path, targets: Mapping[str, str]) -> None:
    done = _cascada(folder, "search", "x", "-c", "nosuch", "--target", targets["query"])
    assert done.returncode == 1
    assert "nosuch" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_sees_the_services(folder: Path, targets: Mapping[str, str]) -> None:
    environ = {f"CASCADA_{name}_TARGET": targets[name.lower()] for name in ("QUERY", "EMBEDDING")}
    checks = _document(_cascada(folder, "doctor", "--json", **environ))["checks"]
    states = {check["what"]: check["state"] for check in checks if check["area"] == "services"}
    assert states == {"agent-execution": "note", "query": "ok", "embedding": "ok"}


def test_without_a_server_the_commands_bring_their_own(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    text = (SAMPLES / "francia.md").read_text(encoding="utf-8")
    (tmp_path / "docs" / "f.md").write_text(text, encoding="utf-8")
    indexed = _cascada(tmp_path, "index", "docs", "-c", "c")
    assert indexed.returncode == 0, indexed.stderr
    asked = _cascada(tmp_path, "ask", QUESTION, "-c", "c", "--no-trace")
    assert asked.returncode == 0, asked.stderr
    assert "Par" in asked.stdout.splitlines()[0]
    assert asked.stderr == ""


def test_the_services_of_a_command_have_the_environments_settings(tmp_path: Path) -> None:
    arguments = ("config", "explain", "--operation", "chat", "--json")
    document = _document(_cascada(tmp_path, *arguments, CASCADA_TEMPERATURE="0.5"))
    effective = document["operations"][0]["effective"]
    assert effective["values"]["temperature"] == 0.5
    assert effective["sources"]["temperature"] == "CONFIGURATION_SOURCE_ENVIRONMENT"


def test_a_signal_ends_a_service_in_order(tmp_path: Path) -> None:
    process, services = _serve(tmp_path, "agent-execution")
    assert set(services) == {"agent-execution"}
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=_SECONDS)
    assert process.returncode == 0
    assert "ready" in (tmp_path / "log").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CASCADA_QUERY_PORT", "many"),
        ("CASCADA_CONFIG_FILE", "/no/such/file.json"),
        ("CASCADA_STORE", "nosuch://x"),
    ],
)
def test_serve_refuses_a_wrong_configuration_in_one_sentence(
    tmp_path: Path, variable: str, value: str
) -> None:
    done = _cascada(tmp_path, "serve", "query", **{variable: value})
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_serve_names_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = _cascada(tmp_path, "serve", "agent-execution", "--agent-execution-port", port)
    assert done.returncode == 1
    assert port in done.stderr


@pytest.mark.full
def test_the_demo_answers_and_is_not_disturbed_by_the_environment(tmp_path: Path) -> None:
    disturbing = {"CASCADA_CHAT_PROVIDER": "groq", "OPENAI_BASE_URL": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.demo"],
        env=_environment(tmp_path, **disturbing),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "exit code 0" in done.stdout
