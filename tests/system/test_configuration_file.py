"""The configuration file changes while the services run."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent_execution
from cascada.config.v1 import configuration_source_pb2, model_provider_pb2

from config_core.model_configuration import ModelProvider
from tests.system.asking import UPSTREAM_MODELS, Paced, base_urls
from tests.system.cluster import SERVICES, Cluster
from tests.system.waiting import until
from tests.upstream.server import UpstreamServer

FILE = configuration_source_pb2.CONFIGURATION_SOURCE_FILE
REFUSED = "configuration refused"


@dataclass
class Stage:
    """Three processes that read one file."""

    cluster: Cluster
    upstream: UpstreamServer
    path: Path

    def write(self, content: object) -> None:
        """Replace the file's content; what is not text is written as JSON."""
        text = content if isinstance(content, str) else json.dumps(content)
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    async def change(self, defaults: dict[str, Any]) -> None:
        """Replace the defaults, and wait until each process has them."""
        before = self.count("configuration changed")
        self.write({"defaults": defaults})
        await until(
            lambda: self.count("configuration changed") == before + len(SERVICES), "the change"
        )

    async def break_file(self, content: object) -> str:
        """Write a file that is to be refused; what the processes say of it."""
        before = len(self.refusals())
        self.write(content)
        await until(
            lambda: len(self.refusals()) == before + len(SERVICES), "the refusal in each log"
        )
        return "\n".join(self.refusals()[before:])

    def count(self, event: str) -> int:
        """How often all logs together have an event."""
        return self.cluster.logs().count(event)

    def refusals(self) -> list[str]:
        """The lines of all logs that tell of a refusal, those of one time together."""
        lines = [line for line in self.cluster.logs().splitlines() if REFUSED in line]
        return sorted(lines, key=lambda line: str(json.loads(line)["timestamp"]))


@pytest.fixture
async def stage(tmp_path: Path, upstream: UpstreamServer) -> AsyncIterator[Stage]:
    """Give three processes whose file says a temperature of 0.25."""
    path = tmp_path / "cascada.json"
    environ = {
        **UPSTREAM_MODELS,
        **base_urls(upstream),
        "CASCADA_CONFIG_FILE": str(path),
        "OPENAI_API_KEY": "openai-key-1",
        "MISTRAL_API_KEY": "mistral-key-1",
    }
    async with Cluster(tmp_path, environ) as cluster:
        stage = Stage(cluster, upstream, path)
        stage.write({"defaults": {"temperature": 0.25}})
        await cluster.serve_each()
        yield stage


def ran(response: agent_execution.ExecuteResponse) -> set[tuple[float, int, str]]:
    """Temperature, provider and snapshot of each hop."""
    hops = [hop.effective for hop in response.configuration_trace.hops]
    assert len(hops) == 2
    return {
        (hop.values.temperature, hop.values.chat_provider, hop.snapshot_version) for hop in hops
    }


async def test_a_change_of_the_file_shows_in_the_next_trace_without_a_restart(
    stage: Stage,
) -> None:
    ((temperature, _, first),) = ran(await stage.cluster.execute("hola"))
    assert temperature == 0.25

    await stage.change({"temperature": 0.0})
    response = await stage.cluster.execute("hola")
    ((temperature, provider, second),) = ran(response)
    assert (temperature, provider) == (0.0, model_provider_pb2.MODEL_PROVIDER_OPENAI)
    assert second != first
    for hop in response.configuration_trace.hops:
        assert hop.effective.sources["temperature"] == FILE
    assert stage.upstream.requests[-1].body["temperature"] == 0.0

    await stage.change({"temperature": 0.0, "chat_provider": "mistral"})
    ((_, provider, third),) = ran(await stage.cluster.execute("hola"))
    assert provider == model_provider_pb2.MODEL_PROVIDER_MISTRAL
    assert third not in (first, second)
    last = stage.upstream.requests[-1]
    assert (last.provider, last.key) == (ModelProvider.MISTRAL, "mistral-key-1")
    assert all(program.process.returncode is None for program in stage.cluster.programs)


async def test_a_broken_file_is_reported_and_changes_nothing(stage: Stage) -> None:
    before = ran(await stage.cluster.execute("hola"))
    broken = (
        ('{"defaults": {"temperature": 0.7531942', ("line 1", "not valid JSON"), "0.7531942"),
        (
            {"defaults": {"temperature": 73.5}},
            ("defaults.temperature", "less than or equal"),
            "73.5",
        ),
        ({"defaults": {"max_tokens": "zweiundvierzig"}}, ("defaults.max_tokens",), "zweiund"),
        ({"defaults": {"chat_endpoint": "box"}}, ("defaults.chat_endpoint", "not registered"), ""),
    )
    for content, reasons, value in broken:
        report = await stage.break_file(content)
        assert report.count(str(stage.path)) == len(SERVICES)
        for reason in reasons:
            assert report.count(reason) == len(SERVICES), report
        assert not value or value not in report
        assert ran(await stage.cluster.execute("hola")) == before
    await stage.change({"temperature": 1.5})
    ((temperature, _, _),) = ran(await stage.cluster.execute("hola"))
    assert temperature == 1.5


async def test_a_request_in_flight_ends_on_the_snapshot_that_it_began_with(stage: Stage) -> None:
    before = ran(await stage.cluster.execute("hola"))
    paced = Paced()
    stage.upstream.script(paced)
    held = asyncio.create_task(stage.cluster.execute("hola"))
    await stage.upstream.received(2)
    await stage.change({"temperature": 1.0})
    after = ran(await stage.cluster.execute("hola"))
    assert not held.done()
    paced.release()
    assert ran(await held) == before
    assert after.isdisjoint(before)
