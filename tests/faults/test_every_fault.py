"""Whatever a provider does, a request ends in the whole answer or in one clear error, in time.

All cases that were selected run at the same time, over the same HTTP pools, each with a registered
endpoint and key of its own; then each test looks at how its case ended.
"""

import asyncio
import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cascada.config.v1 import configuration_trace_pb2
from cascada.config.v1.model_configuration_pb2 import Fallback, Fallbacks, ModelConfiguration

from config_core.errors import Reason
from config_core.model_configuration import ModelProvider
from service_core.upstream import exchange
from tests.faults.expectations import EXPECTED, FALLS_BACK, FAULTS, Expected
from tests.faults.replies import ASK, CODES, Reply
from tests.faults.services import PROVIDERS, Services, endpoints, operator_key, serve
from tests.faults.stage import Arrival, ByKey, selected_cases
from tests.upstream.faults import SAME_IDS
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

AT_ONCE = 12
TIMEOUT_SECONDS = 30.0
LIMIT_SECONDS = 2.0
RETRIES = 1
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Reached long before the time limit of an attempt."""

OPERATIONS = ("chat", "stream")
ROTATION = itertools.cycle(PROVIDERS)


@dataclass(frozen=True)
class Case:
    """One fault, met in one way at one provider, with or without a spare connection."""

    fault: str
    operation: str
    provider: ModelProvider
    spare: bool = False

    def __str__(self) -> str:
        return f"{self.fault}-{self.operation}-{self.provider}"

    @property
    def expected(self) -> Expected:
        """What has to happen at the primary connection."""
        return EXPECTED[self.fault][OPERATIONS.index(self.operation)]


@dataclass(frozen=True)
class Ending:
    """How a case ended, and what its connections saw of it."""

    reply: Reply
    arrivals: Sequence[Arrival]
    at_spare: int
    afterwards: Reply
    """To a healthy request right after it."""
    key: str


ALONE = [Case(*at) for at in itertools.product(FAULTS, OPERATIONS, PROVIDERS)]
WITH_SPARE = [
    Case(fault, operation, next(ROTATION), spare=True)
    for fault, operation in itertools.product(FAULTS, OPERATIONS)
]

Endings = Mapping[Case, Ending]


@pytest.fixture(scope="module")
def endings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Endings:
    """Run every case of this module that was selected."""
    cases = selected_cases(request)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "MAX_ANSWER_BYTES", MAX_ANSWER_BYTES)
        return asyncio.run(_run(cases, tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("case", ALONE, ids=str)
def test_a_fault_ends_in_the_whole_answer_or_in_its_error(case: Case, endings: Endings) -> None:
    assert _end(endings[case].reply) == _end(_due(case))


@pytest.mark.parametrize("case", [*ALONE, *WITH_SPARE], ids=str)
def test_the_upstream_counts_no_attempt_too_many(case: Case, endings: Endings) -> None:
    assert len(endings[case].arrivals) == case.expected.attempts <= RETRIES + 1


@pytest.mark.parametrize("case", ALONE, ids=str)
def test_the_attempts_on_record_are_those_that_the_upstream_counts(
    case: Case, endings: Endings
) -> None:
    made = [
        attempt
        for attempt in endings[case].reply.attempts
        if attempt.outcome != configuration_trace_pb2.ATTEMPT_OUTCOME_SKIPPED
    ]
    assert len(made) == len(endings[case].arrivals)


@pytest.mark.parametrize("case", [case for case in ALONE if case.expected.gap], ids=str)
def test_no_attempt_comes_before_retry_after(case: Case, endings: Endings) -> None:
    first, second = endings[case].arrivals
    assert second.at - first.at >= case.expected.gap


@pytest.mark.parametrize("case", [*ALONE, *WITH_SPARE], ids=str)
def test_a_healthy_request_right_afterwards_succeeds(case: Case, endings: Endings) -> None:
    assert _end(endings[case].afterwards) == _end(Reply(text=Content().text))


@pytest.mark.parametrize("case", ALONE, ids=str)
def test_no_error_shows_the_key(case: Case, endings: Endings) -> None:
    assert endings[case].key not in endings[case].reply.shown


@pytest.mark.parametrize("case", WITH_SPARE, ids=str)
def test_a_healthy_fallback_answers_where_the_design_says_so(case: Case, endings: Endings) -> None:
    expected, ending = case.expected, endings[case]
    falls_back = expected.reason in FALLS_BACK
    due = _due(case)
    if falls_back:
        void = expected.reason is Reason.STREAM_INTERRUPTED
        due = Reply(text=Content().text, restarts=expected.restarts + void)
    assert (_end(ending.reply), ending.at_spare) == (_end(due), int(falls_back))


def _end(reply: Reply) -> tuple[object, ...]:
    return reply.code, reply.reason, reply.text, tuple(reply.arguments), reply.restarts


def _due(case: Case) -> Reply:
    """What the caller of a case without a spare connection has to get."""
    expected = case.expected
    if expected.reason is not None:
        code = CODES[expected.reason]
        return Reply(code=code, reason=expected.reason, restarts=expected.restarts)
    content = SAME_IDS.content if case.fault == "duplicate ids" else Content()
    arguments = tuple(wish.arguments for wish in content.tool_calls)
    return Reply(grpc.StatusCode.OK, None, content.text, arguments, expected.restarts)


async def _run(cases: Sequence[Case], folder: Path) -> Endings:
    """Run cases side by side, through one set of services."""
    names = {case: f"case-{number}" for number, case in enumerate(cases)}
    async with UpstreamServer() as upstream:
        stage = upstream.choose = ByKey()
        addresses = {
            name: (case.provider, upstream.url(case.provider))
            for case, primary in names.items()
            for name in (primary, f"{primary}-spare")
        }
        turns = asyncio.Semaphore(AT_ONCE)
        async with serve(folder, upstream, endpoints(addresses)) as services:

            async def run(case: Case) -> Ending:
                async with turns:
                    return await _run_one(services, stage, case, names[case])

            endings = await asyncio.gather(*(run(case) for case in cases))
    return dict(zip(cases, endings, strict=True))


async def _run_one(services: Services, stage: ByKey, case: Case, name: str) -> Ending:
    key, spare = operator_key(name), operator_key(f"{name}-spare")
    configuration = ModelConfiguration(
        chat_endpoint=name,
        retry_attempts=RETRIES,
        timeout_seconds=TIMEOUT_SECONDS,
        attempt_timeout_seconds=LIMIT_SECONDS,
        first_token_timeout_seconds=LIMIT_SECONDS,
        stall_timeout_seconds=LIMIT_SECONDS,
    )
    if case.spare:
        alternatives = [Fallback(endpoint=f"{name}-spare")]
        configuration.fallbacks.CopyFrom(Fallbacks(alternatives=alternatives))
    stage.behaviours[key] = copy.deepcopy(FAULTS[case.fault])
    reply = await ASK[case.operation](services, "¿Qué tal?", configuration)
    arrivals = list(stage.arrivals[key])
    del stage.behaviours[key]
    afterwards = await ASK[case.operation](services, "¿Y ahora?", configuration)
    assert len(stage.arrivals[key]) == len(arrivals) + 1
    return Ending(reply, arrivals, len(stage.arrivals[spare]), afterwards, key)
