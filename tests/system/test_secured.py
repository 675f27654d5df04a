"""`cascada serve` where identity and TLS are on, as an operator and a caller meet it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service_core.identity.tokens import digest_of
from tests.system.asking import UPSTREAM_MODELS, base_urls
from tests.system.cluster import Cluster
from tests.unit.service_core.tls.certificates import Certificates
from tests.upstream.fixtures import upstream
from tests.upstream.server import UpstreamServer

__all__ = ["upstream"]

GRPCURL = Path(sys.executable).with_name("grpcurl")
EXECUTE = "cascada.agent_execution.v1.AgentExecutionService/Execute"
TOKEN = "cascada_web"


def identity(folder: Path) -> str:
    entry = {"sha256": digest_of(TOKEN), "tenant": "acme", "roles": ["caller"]}
    path = folder / "cascada.json"
    path.write_text(json.dumps({"identity": {"tokens": {"web": entry}}}), encoding="utf-8")
    return str(path)


@pytest.fixture
async def cluster(
    tmp_path: Path, certificates: Certificates, upstream: UpstreamServer
) -> AsyncIterator[Cluster]:
    environ = {
        **UPSTREAM_MODELS,
        **base_urls(upstream),
        **certificates.server(),
        "OPENAI_API_KEY": "sk-operator-0123456789",
        "CASCADA_CONFIG_FILE": identity(tmp_path),
    }
    async with Cluster(tmp_path, environ) as found:
        program = await found.start("-m", "cli", "serve", "all", "--json")
        async with asyncio.timeout(60):
            while '"ready": true' not in program.text:
                assert program.process.returncode is None, program.text
                await asyncio.sleep(0.1)
        yield found


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def grpcurl(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of a call to agent execution, over TLS."""
    process = await asyncio.create_subprocess_exec(
        GRPCURL,
        "-cacert",
        str(cluster.folder / "ca.pem"),
        *arguments[:-1],
        f"localhost:{cluster.ports['agent-execution']}",
        arguments[-1],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_caller_with_a_token_is_answered_through_all_services(cluster: Cluster) -> None:
    header = ("-H", f"authorization: Bearer {TOKEN}")
    code, output = await grpcurl(cluster, *header, "-d", '{"message": "hola"}', EXECUTE)
    assert code == 0, output
    hops = json.loads(output)["configuration_trace"]["hops"]
    assert [hop["service"] for hop in hops] == ["agent-execution", "query"]
    code, output = await grpcurl(cluster, *header, "list")
    assert code == 0
    assert EXECUTE.partition("/")[0] in output


async def test_a_caller_without_one_is_not(cluster: Cluster) -> None:
    for header in ((), ("-H", "authorization: Bearer cascada_other")):
        code, output = await grpcurl(cluster, *header, "-d", '{"message": "hola"}', EXECUTE)
        assert code != 0
        assert "Unauthenticated" in output
    assert TOKEN not in cluster.logs()


async def test_a_server_for_other_machines_does_not_start_unguarded(
    tmp_path: Path, certificates: Certificates
) -> None:
    everywhere = {"CASCADA_HOST": "0.0.0.0"}  # noqa: S104 # it is refused
    secured = {"CASCADA_CONFIG_FILE": identity(tmp_path), **certificates.server()}
    async with Cluster(tmp_path, everywhere) as cluster:
        for missing in ("CASCADA_CONFIG_FILE", "CASCADA_TLS_CERT_FILE"):
            environ = {name: value for name, value in secured.items() if missing not in name}
            environ.pop("CASCADA_TLS_KEY_FILE" if "TLS" in missing else "", None)
            for command in (("-m", "cli", "serve", "all"), ("-m", "query")):
                program = await cluster.start(*command, environ=environ)
                assert await program.ended() in (1, 2)
                assert missing in program.text
                assert "CASCADA_ALLOW_INSECURE=1" in program.text
