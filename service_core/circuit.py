"""Circuit breakers: an operator's connection that keeps failing is left alone for a while.

    CLOSED ──5 failures in a row──▶ OPEN ──after its rest──▶ HALF_OPEN ──a probe succeeds──▶ CLOSED
                                     ▲                           │
                                     └────── a probe fails ──────┘   each rest twice as long

Only calls with the operator's key, or with none, count and are held back: what a caller's own key
meets says nothing about the operator's connection, nor does what one of the operator's keys meets
about another one at the same address.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from config_core.connection import Connection
from config_core.errors import CascadaError, Reason
from config_core.model_configuration import ModelProvider
from config_core.place import Place

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


_WORST_FIRST = (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED)


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the operator's connections to a place."""

    base_url: str
    credential: int
    """Tells the operator's keys apart; it means nothing outside of this process."""


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
        self._circuits: dict[Place, dict[_Way, Circuit]] = {}

    def enter(self, connection: Connection) -> Passage | float:
        """A passage for a call, or the seconds until the next probe where it is held back."""
        if connection.is_callers or not connection.base_url:
            return Passage(None)
        credential = connection.credential
        known = 0 if credential is None else hash(credential.key.get_secret_value())
        way = _Way(connection.base_url, known)
        place = Place(connection.provider, connection.endpoint)
        circuits = self._circuits.setdefault(place, {way: Circuit(self._clock)})
        circuit = circuits.setdefault(way, Circuit(self._clock))
        return circuit.enter() or circuit.wait

    def state_of(self, provider: ModelProvider, endpoint: str) -> CircuitState | None:
        """The state of a place, the worst of its connections; `None` if it was never called."""
        circuits = self._circuits.get(Place(provider, endpoint))
        return None if circuits is None else _worst(circuits)

    def states(self) -> Iterator[tuple[Place, CircuitState]]:
        """The state of every place that was called, the worst of its connections."""
        for place, circuits in tuple(self._circuits.items()):  # the reader is another thread
            yield place, _worst(circuits)


def _worst(circuits: Mapping[_Way, Circuit]) -> CircuitState:
    states = {circuit.state for circuit in tuple(circuits.values())}
    return min(states, key=_WORST_FIRST.index)
