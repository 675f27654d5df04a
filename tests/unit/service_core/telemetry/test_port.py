import asyncio
import urllib.request

import pytest
import structlog

from service_core.telemetry import Metrics, start_metrics_port


def read(port: int) -> str:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/metrics", timeout=20
    ) as answer:  # a literal http URL
        return str(answer.read().decode())


async def test_the_registry_is_served() -> None:
    metrics = Metrics()
    metrics.requests.labels("query", "/m", "OK", "").inc()
    port = start_metrics_port(metrics.registry, "127.0.0.1", 0)
    assert port is not None
    body = await asyncio.to_thread(read, port.port)
    await port.close()
    assert 'cascada_requests_total{code="OK",method="/m",reason="",service="query"} 1.0' in body
    assert "process_resident_memory_bytes" in body


async def test_a_closed_port_is_free_again() -> None:
    metrics = Metrics()
    first = start_metrics_port(metrics.registry, "127.0.0.1", 0)
    assert first is not None
    await first.close()
    second = start_metrics_port(metrics.registry, "127.0.0.1", first.port)
    assert second is not None
    await second.close()


async def test_a_port_that_is_taken_is_a_warning() -> None:
    metrics = Metrics()
    first = start_metrics_port(metrics.registry, "127.0.0.1", 0)
    assert first is not None
    with structlog.testing.capture_logs() as logs:
        assert start_metrics_port(metrics.registry, "127.0.0.1", first.port) is None
    await first.close()
    assert [(entry["log_level"], entry["port"]) for entry in logs] == [("warning", first.port)]


def test_none_serves_nothing() -> None:
    assert start_metrics_port(Metrics().registry, "127.0.0.1", None) is None


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.requests.labels("query", "/m", "OK", "").inc()
    assert (
        second.registry.get_sample_value(
            "cascada_requests_total",
            {"service": "query", "method": "/m", "code": "OK", "reason": ""},
        )
        is None
    )


@pytest.mark.parametrize("name", ["cascada_requests", "cascada_requests_in_flight"])
def test_later_work_adds_to_the_registry(name: str) -> None:
    assert name in {metric.name for metric in Metrics().registry.collect()}
