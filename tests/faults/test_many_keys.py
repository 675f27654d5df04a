"""Thousands of callers with keys of their own: none gets another's, and nothing is left of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.many_callers import Callers, Checking
from tests.faults.resources import Held, held, open_sockets, running_tasks
from tests.faults.services import PROVIDERS, endpoints, serve
from tests.system.waiting import until
from tests.upstream.server import UpstreamServer

AT_ONCE = 32
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Scale:
    """How much is sent, and by how many megabytes the process may have grown after it."""

    requests: int
    keys: int
    growth: int

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.keys} keys"


@dataclass(frozen=True)
class Outcome:
    """What was seen."""

    scale: Scale
    callers: Callers
    before: Held
    """After services had run and stopped a first time: gRPC's core keeps sockets of its own."""
    warm: Held
    """After the first requests."""
    settled: Held
    """After all of them."""
    after: Held
    """After the services had stopped."""
    leases: float
    made: float
    """Clients of providers made for all the keys."""

    @property
    def figures(self) -> str:
        """One line of it."""
        memory = f"{self.warm.memory / MEGABYTE:.1f} to {self.settled.memory / MEGABYTE:.1f} MB"
        return (
            f"{self.scale}: {self.callers.cancelled} cancelled; {memory}; "
            f"sockets {self.warm.sockets} to {self.settled.sockets}; "
            f"tasks {self.warm.tasks} to {self.settled.tasks}; {self.made:.0f} clients made"
        )


SCALES = [
    Scale(400, 80, growth=12),
    pytest.param(
        Scale(10_000, 2_000, growth=16), marks=[pytest.mark.full, pytest.mark.timeout(1800)]
    ),
]


@pytest.fixture(scope="module", params=SCALES, ids=str)
def outcome(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    figures: Callable[[str], None],
) -> Outcome:
    """Run it once for all the tests."""
    outcome = asyncio.run(_run(request.param, tmp_path_factory.mktemp("keys")))
    figures(outcome.figures)
    return outcome


def test_every_request_carries_its_own_key(outcome: Outcome) -> None:
    assert not outcome.callers.checking.wrong
    assert outcome.callers.checking.checked == outcome.callers.sent


def test_every_request_gets_its_own_answer(outcome: Outcome) -> None:
    assert not outcome.callers.wrong
    assert outcome.callers.cancelled > outcome.scale.requests // 5


def test_memory_does_not_grow_with_the_keys(outcome: Outcome) -> None:
    assert outcome.settled.memory - outcome.warm.memory < outcome.scale.growth * MEGABYTE


def test_sockets_return_to_their_level(outcome: Outcome) -> None:
    assert outcome.settled.sockets <= outcome.warm.sockets + AT_ONCE
    assert outcome.after.sockets <= outcome.before.sockets


def test_tasks_return_to_their_level(outcome: Outcome) -> None:
    assert outcome.settled.tasks <= outcome.warm.tasks
    assert outcome.after.tasks <= outcome.before.tasks


def test_clients_are_made_for_addresses_and_not_for_keys(outcome: Outcome) -> None:
    assert outcome.made == 2 * len(PROVIDERS)


def test_no_client_stays_leased(outcome: Outcome) -> None:
    assert outcome.leases == 0


async def _run(scale: Scale, folder: Path) -> Outcome:
    async with _callers(scale, folder) as callers:
        await callers.send(AT_ONCE)
    before = held()
    async with _callers(scale, folder) as callers:
        idle = running_tasks()
        await callers.send(AT_ONCE * 6)
        warm = await _settled(idle)
        await callers.send(scale.requests)
        settled = await _settled(idle)
        services = callers.services
        leases = services.leases()
        made = services.sample("cascada_upstream_pool", service="query", what="made")
    await until(lambda: open_sockets() <= before.sockets, "the sockets to be closed")
    return Outcome(scale, callers, before, warm, settled, held(), leases, made)


@asynccontextmanager
async def _callers(scale: Scale, folder: Path) -> AsyncIterator[Callers]:
    """Services in front of a checking upstream, with a registered address of each provider."""
    async with UpstreamServer() as upstream:
        checking = upstream.choose = Checking(upstream)
        addresses = {
            f"at-{provider}": (provider, f"{upstream.url(provider)}/registered")
            for provider in PROVIDERS
        }
        async with serve(folder, upstream, endpoints(addresses)) as services:
            yield Callers(services, checking, scale.keys, AT_ONCE)


async def _settled(tasks: int) -> Held:
    await until(lambda: running_tasks() <= tasks, "the tasks of the requests to end")
    return held()
