"""What operators see of a process: metrics, spans and the ids that tie logs to them.

Nothing in here imports OpenTelemetry but `exporting` and what it imports: without a collector a
service neither loads it nor pays for it.
"""

from service_core.telemetry.live import Labelled, LiveGauges
from service_core.telemetry.metrics import Metrics
from service_core.telemetry.port import MetricsPort, start_metrics_port

__all__ = ["Labelled", "LiveGauges", "Metrics", "MetricsPort", "start_metrics_port"]
