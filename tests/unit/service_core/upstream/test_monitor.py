from prometheus_client import generate_latest

from service_core.telemetry import Metrics
from service_core.upstream.clients import ClientPool
from service_core.upstream.monitor import UpstreamMonitor


def test_operators_see_the_pools_of_all_services_of_a_process() -> None:
    metrics = Metrics()
    for service in ("query", "embedding"):
        UpstreamMonitor(service, metrics, ClientPool())
    shown = generate_latest(metrics.registry).decode()
    for service in ("query", "embedding"):
        for what in ("clients", "leases", "made", "served"):
            assert f'cascada_upstream_pool{{service="{service}",what="{what}"}} 0.0' in shown
