"""The metrics of a process: one registry, created by the app and handed to whoever counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from service_core.load import Load
from service_core.telemetry.live import LiveGauges
from service_core.telemetry.model_names import ModelNames

# Seconds: from a health-like call to the longest answers.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

# As OpenTelemetry's conventions for generative AI advise.
_CALL_BUCKETS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
_TOKEN_BUCKETS = tuple(4**power for power in range(14))

_CALL_LABELS = (
    "service",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "endpoint",
    "gen_ai_request_model",
)


class Metrics:
    """A registry with the metrics that every service has; others register theirs in `registry`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "cascada_requests",
            "Requests that ended, by their gRPC code and the reason of the error.",
            ("service", "method", "code", "reason"),
            registry=self.registry,
        )
        self.duration = Histogram(
            "cascada_request_duration_seconds",
            "Time from a request's arrival to its last message.",
            ("service", "method", "code"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "cascada_requests_in_flight",
            "Requests that run.",
            ("service", "method"),
            registry=self.registry,
        )
        self.attempts = Counter(
            "cascada_upstream_attempts",
            "Calls to providers, and alternatives passed over, by how they ended.",
            ("service", "provider", "endpoint", "outcome", "reason"),
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "cascada_fallbacks",
            "Times that an alternative was called, by whom it stood in for and why.",
            ("service", "provider", "endpoint", "alternative", "reason"),
            registry=self.registry,
        )
        self.call_duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Time of one call to a provider; of a stream, to its end.",
            (*_CALL_LABELS, "error_type"),
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.first_chunk = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Time from a streaming call to a provider to the first piece of its answer.",
            _CALL_LABELS,
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of one call to a provider, as it counts them; the sum is what was used.",
            (*_CALL_LABELS, "gen_ai_token_type"),
            buckets=_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self.models = ModelNames()
        self.load = Load()
        """What the process has to do at the moment."""
        self.live = LiveGauges()
        self.registry.register(self.live)
