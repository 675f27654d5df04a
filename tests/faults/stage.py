"""An upstream that answers each key in its own way, and keeps when each of its requests came."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Behaviour, Received


@dataclass(frozen=True)
class Arrival:
    """A request and the moment of its arrival, by the upstream's monotonic clock."""

    at: float
    received: Received


@dataclass
class ByKey:
    """Chooses the behaviour by the key of the request; a key that is not known is answered well."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    arrivals: dict[str, list[Arrival]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, received: Received) -> Behaviour:
        """Choose."""
        self.arrivals[received.key].append(Arrival(time.monotonic(), received))
        return self.behaviours.get(received.key, Answer())


def selected_cases(request: pytest.FixtureRequest) -> list[Any]:
    """The parameters named `case` of the tests of the fixture's module that are to run."""
    cases = [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and "case" in item.callspec.params
    ]
    return list(dict.fromkeys(cases))
