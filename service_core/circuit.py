"""Circuit breakers: an operator's connection that keeps failing is left alone for a while.

    CLOSED ──5 failures in a row──▶ OPEN ──after its rest──▶ HALF_OPEN ──a probe succeeds──▶ CLOSED
                                     ▲                           │
                                     └────── a probe fails ──────┘   each rest twice as long

Only calls with the operator's key, or with none, count and are held back: what a caller's own key
meets says nothing about the operator's connection.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from config_core.connection import Connection
from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider

FAILURES_TO_OPEN = 5
REST_SECONDS = 2.0
MAX_REST_SECONDS = 15.0
TELLING_SILENCE_SECONDS = 5.0
"""A shorter silence says nothing of the connection: callers choose their own limits."""

_COUNTED = frozenset(
    {Reason.UPSTREAM_FAILED, Reason.STREAM_INTERRUPTED, Reason.UPSTREAM_CREDENTIAL_REJECTED}
)


class CircuitState(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitKey:
    """One operator's connection."""

    provider: ModelProvider
    endpoint: str
    base_url: str


class Circuit:
    """The breaker of one connection."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._rest = REST_SECONDS
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> CircuitState:
        """What holds now."""
        if self._open_until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if self.wait > 0 else CircuitState.HALF_OPEN

    @property
    def wait(self) -> float:
        """Seconds until the next probe may pass; 0 where calls or a probe pass now."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def enter(self) -> "Passage | None":
        """A passage for a call, `None` where it is held back; half open, one probe at a time."""
        if self._open_until is None:
            return Passage(self)
        if self.wait > 0 or self._probing:
            return None
        self._probing = True
        return Passage(self, probe=True)

    def leave(self, *, failed: bool | None, probe: bool) -> None:
        """How a call that passed has ended; `None` for one that says nothing, as when cancelled."""
        if probe:
            self._probing = False
        if failed is None:
            return
        if not failed:
            self._failures, self._rest, self._open_until = 0, REST_SECONDS, None
            return
        self._failures += 1
        if probe:
            self._rest = min(MAX_REST_SECONDS, self._rest * 2)
        if probe or (self._open_until is None and self._failures >= FAILURES_TO_OPEN):
            self._open_until = self._clock() + self._rest


class Passage:
    """One request's way through a circuit, its retries included; it has to learn how that ended."""

    def __init__(self, circuit: Circuit | None, *, probe: bool = False) -> None:
        self.is_probe = probe
        self._circuit = circuit

    def leave(self, error: BaseException | None) -> None:
        """How the call has ended, told once; only our own errors say anything of the connection."""
        circuit, self._circuit = self._circuit, None
        if circuit is None:
            return
        failed = False if error is None else None
        if isinstance(error, CascadaError) and not _hasty(error):
            failed = error.code_reason in _COUNTED
        circuit.leave(failed=failed, probe=self.is_probe)


def _hasty(error: CascadaError) -> bool:
    """Whether a silence was so short that it may be the caller's impatience."""
    waited = getattr(error, "waited", None)
    return waited is not None and waited < TELLING_SILENCE_SECONDS


class Circuits:
    """The breakers of one service."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[CircuitKey, Circuit] = {}

    def enter(self, connection: Connection) -> Passage | float:
        """A passage for a call, or the seconds until the next probe where it is held back."""
        if connection.is_callers or not connection.base_url:
            return Passage(None)
        key = CircuitKey(connection.provider, connection.endpoint, connection.base_url)
        circuit = self._circuits.setdefault(key, Circuit(self._clock))
        return circuit.enter() or circuit.wait

    def state_of(self, provider: ModelProvider, endpoint: str) -> CircuitState | None:
        """The state of a place, the worst of its addresses; `None` where it was never called."""
        found = {
            circuit.state
            for key, circuit in self._circuits.items()
            if (key.provider, key.endpoint) == (provider, endpoint)
        }
        worst_first = (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED)
        return next((state for state in worst_first if state in found), None)

    def states(self) -> Iterator[tuple[CircuitKey, CircuitState]]:
        """The state of every connection that was called."""
        for key, circuit in self._circuits.items():
            yield key, circuit.state
