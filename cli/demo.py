"""`python -m cli.demo`: the sample documents, three real services, two questions, and what ran."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.agent_execution.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from cascada.query.v1 import document_pb2, query_service_pb2
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from cli import documents
from cli.client import connect
from cli.exits import CommandError, ExitCode
from cli.output import Output
from cli.retrieval import SearchOptions, retrieval
from cli.running import outcome
from cli.trace import show_trace

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "samples"
COLLECTION = "countries"
QUESTIONS = (
    ("¿Cuál es la capital de Francia?", ("París", "Paris")),
    ("What is the highest mountain in the United Kingdom?", ("Ben Nevis",)),
)

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_ANSWER_SECONDS = 60.0

_OWN_PREFIXES = ("CASCADA_", "OPENAI_", "GROQ_", "MISTRAL_")


def main() -> None:
    """Run the demonstration; the exit code is 1 if anything went wrong."""
    began = time.monotonic()
    output = Output()

    async def work() -> ExitCode:
        with tempfile.TemporaryDirectory(prefix="cascada-demo-") as folder:
            async with _services(Path(folder), output) as targets:
                _heading(output, "Index the sample documents")
                await _index(targets["query"], output)
                for question, expected in QUESTIONS:
                    _heading(output, f"Ask: {question}")
                    response = await _ask(targets["agent-execution"], question, expected, output)
                _heading(output, "Which configuration ran, hop by hop, value by value")
                show_trace(output, response.configuration_trace)
        output.line()
        output.line(f"All of it in {time.monotonic() - began:.1f} s.", style="bold green")
        return ExitCode.OK

    sys.exit(outcome(output, work()))


@asynccontextmanager
async def _services(folder: Path, output: Output) -> AsyncIterator[Mapping[str, str]]:
    """Runs `cascada serve all` in a process of its own; gives the target of each service."""
    _heading(output, "Start the three services (cascada serve all)")
    log = folder / "services.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            "serve",
            "all",
            "--json",
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=_environment(folder),
        )
    try:
        targets = await _ready(process)
        for name, target in targets.items():
            output.line(f"{name:<16} {target}")
        yield targets
        _heading(output, "Stop the services (SIGTERM)")
        await _stop(process)
        output.line("They drained and ended with exit code 0.")
    except CommandError:
        output.note(log.read_text(encoding="utf-8", errors="replace"))
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            code = await process.wait()
    except TimeoutError:
        raise CommandError(f"The services did not end within {_STOP_SECONDS:.0f} s.") from None
    if code != 0:
        raise CommandError(f"The services ended with exit code {code}.")


def _environment(folder: Path) -> dict[str, str]:
    """The environment without anything that configures Cascada or its providers."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIXES)
    }
    ports = ("AGENT_EXECUTION", "QUERY", "EMBEDDING", "METRICS")
    return {
        **clean,
        # From a checkout, from an editable install and from a wheel alike.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "CASCADA_DATA_DIR": str(folder / "data"),
        **{f"CASCADA_{name}_PORT": "0" for name in ports},
    }


async def _ready(process: asyncio.subprocess.Process) -> dict[str, str]:
    """Waits for the document that the services write when their models are loaded."""
    assert process.stdout is not None
    text = b""
    try:
        async with asyncio.timeout(_START_SECONDS):
            while line := await process.stdout.readline():
                text += line
                if line.rstrip() == b"}":
                    break
        services: dict[str, str] = json.loads(text)["services"]
    except (TimeoutError, ValueError):
        raise CommandError("The services did not become ready; their log stands above.") from None
    return services


async def _index(target: str, output: Output) -> None:
    files = documents.find([str(SAMPLES)]).files

    async def messages() -> AsyncIterator[query_service_pb2.IndexDocumentsRequest]:
        options = document_pb2.IndexOptions(collection=COLLECTION)
        yield query_service_pb2.IndexDocumentsRequest(options=options)
        for file in files:
            document = await asyncio.to_thread(documents.read, file)
            yield query_service_pb2.IndexDocumentsRequest(document=document)

    async with connect("query", target, output) as client:
        call = QueryServiceStub(client.channel).IndexDocuments(messages(), timeout=_ANSWER_SECONDS)
        async for response in call:
            summary = response.summary
    if summary.indexed != len(files):
        raise CommandError(f"Only {summary.indexed} of {len(files)} documents were indexed.")
    output.line(f"{summary.indexed} documents, {summary.chunks} passages, collection {COLLECTION}")


async def _ask(
    target: str, question: str, expected: tuple[str, ...], output: Output
) -> pb.ExecuteResponse:
    request = pb.StreamExecuteRequest(
        message=question, retrieval=retrieval([COLLECTION], SearchOptions())
    )
    async with connect("agent-execution", target, output) as client:
        call = AgentExecutionServiceStub(client.channel).StreamExecute(
            request, timeout=_ANSWER_SECONDS
        )
        async for event in call:
            output.piece(event.delta)
            completed = event.completed
    output.line()
    for citation in completed.citations:
        output.line(f"[{citation.number}] {citation.title} ({citation.document_id})", style="dim")
    if not any(answer in completed.answer for answer in expected):
        raise CommandError(f"The answer does not name {' or '.join(expected)}.")
    return completed


def _heading(output: Output, text: str) -> None:
    output.line()
    output.line(f"── {text}", style="bold cyan")


if __name__ == "__main__":
    main()
