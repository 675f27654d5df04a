import asyncio
import socket
import struct
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


def break_off(port: int) -> None:
    """Connect, say half of a request, and reset the connection."""
    reader = socket.create_connection(("127.0.0.1", port))
    reader.sendall(b"GE")
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reader.close()


async def test_a_reader_that_breaks_off_writes_nothing_beside_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    port = start_metrics_port(Metrics().registry, "127.0.0.1", 0)
    assert port is not None
    with structlog.testing.capture_logs() as logs:
        await asyncio.to_thread(break_off, port.port)
        async with asyncio.timeout(20):
            while not logs:  # noqa: ASYNC110 # a thread of the library's, which tells nobody
                await asyncio.sleep(0.01)
    await port.close()
    assert [(entry["log_level"], entry["error"]) for entry in logs] == [
        ("debug", "ConnectionResetError")
    ]
    assert capfd.readouterr().err == ""


async def test_a_reader_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service_core.telemetry.port.READ_SECONDS", 0.05)
    port = start_metrics_port(Metrics().registry, "127.0.0.1", 0)
    assert port is not None
    with socket.create_connection(("127.0.0.1", port.port)) as silent:
        silent.settimeout(20)
        assert await asyncio.to_thread(silent.recv, 1) == b""
    await port.close()


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
