from contextlib import AsyncExitStack

import pytest

from config_core.errors import ConfigurationFileError
from service_core.redaction import scrub
from service_core.telemetry import Metrics
from service_core.telemetry.opening import open_exports
from tests.servers.otlp import OtlpServer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


async def test_without_a_collector_there_are_no_exports() -> None:
    async with AsyncExitStack() as stack:
        assert await open_exports({}, Metrics(), scrub, stack, several=False) is None


async def test_the_exports_end_with_the_process() -> None:
    async with OtlpServer() as collector:
        async with AsyncExitStack() as stack:
            environ = {ENDPOINT: collector.url}
            assert await open_exports(environ, Metrics(), scrub, stack, several=False)
            assert collector.metrics == {}
        assert ("cascada", "cascada_telemetry_exports") in collector.metrics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "canary-zip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "canary-soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
    ],
)
async def test_what_the_sdk_does_not_take_is_one_sentence_without_secrets(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationFileError, match="OTEL_") as caught:
            await open_exports(
                {ENDPOINT: "http://127.0.0.1:1"},
                Metrics(),
                lambda text: scrub(text, ["canary-zip", "canary-soon"]),
                stack,
                several=False,
            )
    assert "canary" not in str(caught.value)
