"""Health says NOT_SERVING until the model that a service needs by default is loaded."""

from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from tests.system.cluster import Cluster, health_watch
from tests.system.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

GATED = ("-m", "tests.system.gated_model")


@pytest.mark.parametrize("service", ["", "cascada.embedding.v1.EmbeddingService"])
async def test_a_service_serves_once_its_slow_model_is_loaded(tmp_path: Path, service: str) -> None:
    async with Cluster(tmp_path) as cluster:
        program = await cluster.start(*GATED, stdin=True)
        async with health_watch(cluster.target("embedding"), service) as states:
            assert await anext(states) == NOT_SERVING
            program.write("load\n")
            assert await anext(states) == SERVING


async def test_a_service_whose_model_fails_stays_not_serving_and_says_why(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        program = await cluster.start(*GATED, stdin=True)
        async with health_watch(cluster.target("embedding")) as states:
            assert await anext(states) == NOT_SERVING
            program.write("fail\n")
            await until(lambda: "the gate says no" in program.text, "the reason in the log")
            assert await program.stop() == 0
            with pytest.raises(Exception, match="shutting down"):
                await anext(states)


async def test_a_service_without_a_local_model_serves_without_one(tmp_path: Path) -> None:
    async with Cluster(tmp_path, {"CASCADA_EMBEDDING_PROVIDER": "openai"}) as cluster:
        program = await cluster.start(*GATED, stdin=True)
        await cluster.serving("embedding", program)
