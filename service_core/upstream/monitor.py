"""What a service's calls to providers share, and what operators see of them."""

from collections.abc import Iterator

from config_core.effective import EffectiveConfiguration
from service_core.circuit import Circuits, CircuitState
from service_core.deadline import Deadline
from service_core.retry import Attempts
from service_core.telemetry import Labelled, Metrics
from service_core.telemetry.calls import CallObserver
from service_core.telemetry.spans import Spans
from service_core.upstream.clients import ClientPool

_STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class UpstreamMonitor:
    """One service's circuits, and the counts of its attempts and of its pool."""

    def __init__(
        self, service: str, metrics: Metrics, clients: ClientPool, spans: Spans | None = None
    ) -> None:
        """Without `spans` attempts are counted only."""
        self.circuits = Circuits()
        self._service = service
        self._clients = clients
        self._observer = CallObserver(service, metrics, spans)
        self._away = metrics.load.away
        metrics.live.add(
            "cascada_circuit_state",
            "State of an operator's connection: 0 closed, 1 half open, 2 open.",
            ("service", "provider", "endpoint"),
            self._circuit_states,
        )
        metrics.live.add(
            "cascada_upstream_pool",
            "Clients of providers: open and leased now, made and leased since the start.",
            ("service", "what"),
            self._pool_stats,
        )

    def attempts(self, effective: EffectiveConfiguration, deadline: Deadline) -> Attempts:
        """The attempts of one operation, which share this service's circuits."""
        return Attempts(effective, deadline, self.circuits, self._observer, away=self._away)

    def _circuit_states(self) -> Iterator[Labelled]:
        for key, state in self.circuits.states():
            yield (self._service, str(key.provider), key.endpoint), _STATES[state]

    def _pool_stats(self) -> Iterator[Labelled]:
        stats = self._clients.stats
        for name in ("clients", "leases", "made", "served"):
            yield (self._service, name), getattr(stats, name)
