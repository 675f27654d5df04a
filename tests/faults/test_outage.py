"""The primary connection goes down under steady load, and comes back."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from cascada.config.v1.model_configuration_pb2 import Fallback, Fallbacks, ModelConfiguration

from config_core.model_configuration import ModelProvider
from service_core import circuit
from tests.faults.gate import Gate
from tests.faults.replies import ASK, Reply
from tests.faults.services import Services, endpoints, operator_key, serve
from tests.faults.stage import ByKey
from tests.system.waiting import until
from tests.upstream.behaviours import Silence, Status
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

PRIMARY, SPARE = "primary", "spare"
CLOSED = 0
FAILURES_TO_OPEN = circuit.FAILURES_TO_OPEN


@dataclass(frozen=True)
class Pace:
    """How long the outage is and how dense the load, in seconds."""

    down: float
    pause: float
    """Between two requests."""
    rest: float = circuit.REST_SECONDS
    max_rest: float = circuit.MAX_REST_SECONDS
    silence: float = circuit.TELLING_SILENCE_SECONDS
    """What an attempt is given; a shorter silence tells nothing of the connection."""
    back: float = 30.0
    """How soon after its recovery the primary has to be used again."""


SCALED = Pace(down=6.0, pause=0.1, rest=0.3, max_rest=0.6, silence=0.6)
REAL = Pace(down=60.0, pause=0.1)


@dataclass
class Scene:
    """Services under steady load, whose primary stands behind a gate."""

    services: Services
    gate: Gate
    stage: ByKey
    pace: Pace
    replies: list[Reply] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self) -> None:
        """Ask both ways in turn until stopped; what was sent is waited for."""
        number = 0
        async with asyncio.TaskGroup() as group:
            while not self.stopped.is_set():
                group.create_task(self._ask(("chat", "stream")[number % 2]))
                number += 1
                await asyncio.sleep(self.pace.pause)

    @property
    def state(self) -> float:
        """The state of the primary's circuit, as Prometheus sees it."""
        return self.services.sample(
            "cascada_circuit_state", service="query", provider="openai", endpoint=PRIMARY
        )

    def at_primary(self) -> int:
        """Requests that the primary has received."""
        return len(self.stage.arrivals[operator_key(PRIMARY)])

    def failed_calls(self) -> float:
        """Calls to the primary that failed."""
        return sum(
            sample.value
            for metric in self.services.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "cascada_upstream_attempts_total"
            and (sample.labels["endpoint"], sample.labels["outcome"]) == (PRIMARY, "failed")
        )

    async def _ask(self, operation: str) -> None:
        configuration = ModelConfiguration(
            chat_endpoint=PRIMARY,
            retry_attempts=1,
            timeout_seconds=30.0,
            attempt_timeout_seconds=self.pace.silence,
            first_token_timeout_seconds=self.pace.silence,
            fallbacks=Fallbacks(alternatives=[Fallback(endpoint=SPARE)]),
        )
        self.replies.append(await ASK[operation](self.services, "¿Qué tal?", configuration))


@asynccontextmanager
async def refusing(scene: Scene) -> AsyncIterator[None]:
    """Nothing listens at the primary's port."""
    await scene.gate.shut()
    yield
    await scene.gate.open()


@asynccontextmanager
async def failing(scene: Scene) -> AsyncIterator[None]:
    """The primary answers 503."""
    scene.stage.behaviours[operator_key(PRIMARY)] = Status(503)
    yield
    del scene.stage.behaviours[operator_key(PRIMARY)]


@asynccontextmanager
async def silent(scene: Scene) -> AsyncIterator[None]:
    """The primary accepts requests and says nothing."""
    scene.stage.behaviours[operator_key(PRIMARY)] = Silence()
    yield
    del scene.stage.behaviours[operator_key(PRIMARY)]


@asynccontextmanager
async def flapping(scene: Scene) -> AsyncIterator[None]:
    """The primary comes and goes, one way and the other."""

    async def flap() -> None:
        while True:
            for outage in (refusing, failing):
                async with outage(scene):
                    await asyncio.sleep(scene.pace.rest / 2)
                await asyncio.sleep(scene.pace.rest / 2)

    task = asyncio.create_task(flap())
    yield
    task.cancel()
    await asyncio.wait([task])
    scene.stage.behaviours.clear()
    await scene.gate.shut()
    await scene.gate.open()


class Outage(Protocol):
    """A way to be down, for as long as its block runs."""

    __name__: str

    def __call__(self, scene: Scene) -> AbstractAsyncContextManager[None]:
        """Take the primary down."""
        ...


STEADY: Sequence[Outage] = (refusing, failing, silent)


@dataclass(frozen=True)
class Outcome:
    """What was seen of an outage."""

    pace: Pace
    replies: Sequence[Reply]
    """To every request, from before the outage to after it."""
    state: float
    """The circuit's at the end of the outage."""
    asked: int
    """Requests answered during the outage."""
    called: float
    """Calls to the primary during the outage."""
    recovery: float
    """Seconds until the primary was used again; infinite where it was not."""

    @property
    def figures(self) -> str:
        """One line of it."""
        return (
            f"for {self.pace.down:.0f} s: {len(self.replies)} requests, {self.asked} of them "
            f"meanwhile; {self.called:.0f} calls to it; used again after {self.recovery:.1f} s"
        )


PACES = [
    pytest.param(SCALED, id="scaled"),
    pytest.param(REAL, id="a minute", marks=[pytest.mark.full, pytest.mark.timeout(300)]),
]


@pytest.fixture(scope="module", params=PACES)
def pace(request: pytest.FixtureRequest) -> Pace:
    chosen: Pace = request.param
    return chosen


@pytest.fixture(scope="module")
def outcomes(
    pace: Pace,
    tmp_path_factory: pytest.TempPathFactory,
    figures: Callable[[str], None],
) -> Mapping[Outage, Outcome]:
    """Every outage, all at the same time, each with services of its own."""
    outages: Sequence[Outage] = (*STEADY, flapping)

    async def run() -> list[Outcome]:
        folders = [tmp_path_factory.mktemp("outage") for _ in outages]
        return await asyncio.gather(*map(_run, outages, [pace] * len(outages), folders))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circuit, "REST_SECONDS", pace.rest)
        patch.setattr(circuit, "MAX_REST_SECONDS", pace.max_rest)
        patch.setattr(circuit, "TELLING_SILENCE_SECONDS", pace.silence)
        outcomes = dict(zip(outages, asyncio.run(run()), strict=True))
    for outage, outcome in outcomes.items():
        figures(f"primary {outage.__name__} {outcome.figures}")
    return outcomes


@pytest.mark.parametrize("outage", [*STEADY, flapping])
def test_no_request_fails_while_a_fallback_is_healthy(
    outage: Outage, outcomes: Mapping[Outage, Outcome]
) -> None:
    replies = {(reply.code.name, reply.reason, reply.text) for reply in outcomes[outage].replies}
    assert replies == {("OK", None, Content().text)}


@pytest.mark.parametrize("outage", STEADY)
def test_the_circuit_is_seen_open(outage: Outage, outcomes: Mapping[Outage, Outcome]) -> None:
    assert outcomes[outage].state != CLOSED


@pytest.mark.parametrize("outage", STEADY)
def test_few_calls_reach_a_primary_that_is_down(
    outage: Outage, outcomes: Mapping[Outage, Outcome]
) -> None:
    assert outcomes[outage].called < outcomes[outage].asked / 2


@pytest.mark.parametrize("outage", [*STEADY, flapping])
def test_the_primary_is_used_again_after_its_recovery(
    outage: Outage, outcomes: Mapping[Outage, Outcome]
) -> None:
    assert outcomes[outage].recovery <= outcomes[outage].pace.back


async def _run(outage: Outage, pace: Pace, folder: Path) -> Outcome:
    openai = ModelProvider.OPENAI
    async with UpstreamServer() as upstream, Gate(upstream.url(openai)) as gate:
        stage = upstream.choose = ByKey()
        addresses = {PRIMARY: (openai, gate.url), SPARE: (openai, upstream.url(openai))}
        async with serve(folder, upstream, endpoints(addresses)) as services:
            scene = Scene(services, gate, stage, pace)
            load = asyncio.create_task(scene.load())
            await until(lambda: len(scene.replies) > 0, "the first answer")
            answered, called = len(scene.replies), scene.failed_calls()
            async with outage(scene):
                await asyncio.sleep(pace.down)
                state = scene.state
                asked = len(scene.replies) - answered
                called = scene.failed_calls() - called
            recovery = await _recovery(scene)
            scene.stopped.set()
            await load
    return Outcome(pace, scene.replies, state, asked, called, recovery)


async def _recovery(scene: Scene) -> float:
    """Seconds until the circuit is closed and the primary has been asked several times."""
    began, count = time.monotonic(), scene.at_primary()
    try:
        async with asyncio.timeout(scene.pace.back):
            while scene.state != CLOSED or scene.at_primary() < count + FAILURES_TO_OPEN:  # noqa: ASYNC110 # metrics are polled
                await asyncio.sleep(scene.pace.pause)
    except TimeoutError:
        return math.inf
    return time.monotonic() - began
