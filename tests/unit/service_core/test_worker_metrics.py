from prometheus_client import CollectorRegistry, generate_latest

from service_core.telemetry import Metrics, MetricsPort, start_metrics_port
from service_core.worker_metrics import WorkerMetrics


def page(ports: dict[int, int], replaced: int = 0) -> str:
    registry = CollectorRegistry()
    registry.register(WorkerMetrics(lambda: ports, lambda: replaced))
    return generate_latest(registry).decode()


def worker(requests: int) -> MetricsPort:
    metrics = Metrics()
    metrics.requests.labels("query", "/Query", "OK", "").inc(requests)
    metrics.duration.labels("query", "/Query", "OK").observe(0.02)
    port = start_metrics_port(metrics.registry, "127.0.0.1", 0)
    assert port is not None
    return port


async def test_each_value_has_the_number_of_its_worker() -> None:
    first, second = worker(3), worker(4)
    try:
        text = page({0: first.port, 1: second.port})
    finally:
        await first.close()
        await second.close()
    labels = 'code="OK",method="/Query",reason="",service="query"'
    assert f'cascada_requests_total{{{labels},worker="0"}} 3.0' in text
    assert f'cascada_requests_total{{{labels},worker="1"}} 4.0' in text
    assert text.count("# TYPE cascada_requests_total counter") == 1
    assert 'cascada_request_duration_seconds_bucket{code="OK",le="0.025"' in text


async def test_a_worker_that_does_not_answer_leaves_the_others_page_whole() -> None:
    first, gone = worker(3), worker(1)
    await gone.close()
    try:
        text = page({0: first.port, 1: gone.port})
    finally:
        await first.close()
    assert 'worker="0"' in text
    assert 'worker="1"' not in text


def test_it_tells_how_many_serve_and_were_replaced() -> None:
    text = page({}, replaced=2)
    assert "cascada_workers 0.0" in text
    assert "cascada_workers_replaced_total 2.0" in text
