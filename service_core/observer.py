"""How the attempts of an operation are watched as they run."""

from dataclasses import dataclass
from typing import Protocol

from config_core.effective import EffectiveConfiguration, Target
from config_core.errors import Reason
from service_core.attempts import Attempt
from service_core.usage import Usage


class Answer(Protocol):
    """What is told of an answer, or of a stream's last part; never what it says."""

    @property
    def request_id(self) -> str:
        """The provider's own id of the request."""
        ...

    @property
    def usage(self) -> Usage:
        """What the provider has counted."""
        ...

    @property
    def model(self) -> str:
        """The model that the provider says has answered."""
        ...


@dataclass(frozen=True, slots=True)
class StandIn:
    """Why an alternative is called: what stood before it, and how that ended."""

    instead_of: Attempt
    reason: Reason


@dataclass(frozen=True, slots=True)
class Beginning:
    """A call to a provider that begins."""

    effective: EffectiveConfiguration
    target: Target
    number: int
    """1 for the operation's first."""
    wait: float
    """Seconds that passed before it, because the one before has failed."""
    streams: bool
    stands_in: StandIn | None = None


class Watch(Protocol):
    """Whoever watches one call."""

    def first_part(self) -> None:
        """The first part of a stream has come."""
        ...

    def ended(self, attempt: Attempt | None, answer: Answer | None = None) -> None:
        """The call is on record; `None` for one that was given up from outside."""
        ...


class Observer(Protocol):
    """Whoever watches a service's attempts."""

    def begun(self, beginning: Beginning) -> Watch:
        """A call begins."""
        ...

    def skipped(self, attempt: Attempt) -> None:
        """An alternative was passed over."""
        ...


class Unobserved:
    """Nobody: an observer and a watch that do nothing."""

    def begun(self, _beginning: Beginning) -> Watch:
        """Nothing comes of it."""
        return self

    def skipped(self, attempt: Attempt) -> None:
        """Nothing comes of it."""

    def first_part(self) -> None:
        """Nothing comes of it."""

    def ended(self, attempt: Attempt | None, answer: Answer | None = None) -> None:
        """Nothing comes of it."""


UNOBSERVED = Unobserved()
