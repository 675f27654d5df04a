import asyncio

import pytest
from pydantic import SecretStr

from config_core.connection import Connection, Credential, Owner
from config_core.errors import BudgetSpentError, CascadaError
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from service_core.circuit import (
    FAILURES_TO_OPEN,
    MAX_REST_SECONDS,
    REST_SECONDS,
    Circuits,
    CircuitState,
    Passage,
)
from service_core.upstream.errors import (
    CredentialRejectedError,
    ModelNotFoundError,
    RateLimitedError,
    UpstreamFailedError,
)

OPENAI = ModelProvider.OPENAI


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def connection(
    owner: Owner = Owner.OPERATOR, base_url: str = "http://a/v1", key: str = "k"
) -> Connection:
    credential = Credential(SecretStr(key), Source.ENVIRONMENT, owner)
    return Connection(
        OPENAI, "", base_url, private=True, source=Source.ENVIRONMENT, credential=credential
    )


def call(circuits: Circuits, to: Connection, error: BaseException | None = None) -> Passage | float:
    passage = circuits.enter(to)
    if isinstance(passage, Passage):
        passage.leave(error)
    return passage


def failure() -> CascadaError:
    return UpstreamFailedError(OPENAI, "down", status=503)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuits(clock: Clock) -> Circuits:
    return Circuits(clock)


def opened(circuits: Circuits) -> None:
    for _ in range(FAILURES_TO_OPEN):
        call(circuits, connection(), failure())


def state(circuits: Circuits) -> CircuitState:
    (found,) = [state for _, state in circuits.states()]
    return found


def test_it_opens_after_failures_in_a_row(circuits: Circuits) -> None:
    opened(circuits)
    assert state(circuits) is CircuitState.OPEN
    assert call(circuits, connection()) == pytest.approx(REST_SECONDS)


def test_a_success_in_between_keeps_it_closed(circuits: Circuits) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        call(circuits, connection(), failure())
    call(circuits, connection())
    call(circuits, connection(), failure())
    assert state(circuits) is CircuitState.CLOSED


@pytest.mark.parametrize(
    "error",
    [
        RateLimitedError(OPENAI, "slow down", status=429),
        ModelNotFoundError(OPENAI, "which?", status=404),
        BudgetSpentError("late"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_of_the_connection_does_not_open_it(
    circuits: Circuits, error: BaseException
) -> None:
    for _ in range(FAILURES_TO_OPEN * 2):
        call(circuits, connection(), error)
    assert state(circuits) is CircuitState.CLOSED


def test_the_operators_refused_key_opens_it(circuits: Circuits) -> None:
    for _ in range(FAILURES_TO_OPEN):
        error = CredentialRejectedError(OPENAI, "no", callers=False, status=401)
        call(circuits, connection(), error)
    assert state(circuits) is CircuitState.OPEN


@pytest.mark.parametrize("owner", [Owner.CALLER, Owner.TENANT])
def test_a_callers_own_key_never_opens_it(circuits: Circuits, owner: Owner) -> None:
    for _ in range(FAILURES_TO_OPEN * 2):
        call(circuits, connection(owner), failure())
    assert list(circuits.states()) == []


def test_a_callers_own_key_is_not_held_back(circuits: Circuits) -> None:
    opened(circuits)
    assert isinstance(call(circuits, connection(Owner.CALLER)), Passage)


def test_another_address_has_a_circuit_of_its_own(circuits: Circuits) -> None:
    opened(circuits)
    assert isinstance(call(circuits, connection(base_url="http://b/v1")), Passage)


def test_another_key_of_the_operators_has_a_circuit_of_its_own(circuits: Circuits) -> None:
    for _ in range(FAILURES_TO_OPEN):
        error = CredentialRejectedError(OPENAI, "no", callers=False, status=401)
        call(circuits, connection(key="revoked"), error)
    assert isinstance(call(circuits, connection(key="revoked")), float)
    assert isinstance(call(circuits, connection()), Passage)


def test_a_place_with_several_addresses_and_keys_has_one_state(circuits: Circuits) -> None:
    opened(circuits)
    call(circuits, connection(base_url="http://b/v1"))
    call(circuits, connection(key="other"))
    assert state(circuits) is CircuitState.OPEN


def test_after_its_rest_one_probe_passes_at_a_time(circuits: Circuits, clock: Clock) -> None:
    opened(circuits)
    clock.now += REST_SECONDS
    probe = circuits.enter(connection())
    assert isinstance(probe, Passage)
    assert circuits.enter(connection()) == 0.0


def test_a_probe_that_succeeds_closes_it(circuits: Circuits, clock: Clock) -> None:
    opened(circuits)
    clock.now += REST_SECONDS
    call(circuits, connection())
    assert state(circuits) is CircuitState.CLOSED


def test_a_probe_that_fails_rests_twice_as_long_up_to_a_limit(
    circuits: Circuits, clock: Clock
) -> None:
    opened(circuits)
    rests = []
    for _ in range(5):
        clock.now += MAX_REST_SECONDS
        call(circuits, connection(), failure())
        rests.append(circuits.enter(connection()))
    assert rests == pytest.approx([4.0, 8.0, 15.0, 15.0, 15.0])


def test_a_cancelled_probe_makes_room_for_the_next(circuits: Circuits, clock: Clock) -> None:
    opened(circuits)
    clock.now += REST_SECONDS
    call(circuits, connection(), asyncio.CancelledError())
    assert isinstance(circuits.enter(connection()), Passage)


def test_a_call_from_before_does_not_end_the_probe(circuits: Circuits, clock: Clock) -> None:
    before = circuits.enter(connection())
    opened(circuits)
    clock.now += REST_SECONDS
    circuits.enter(connection())
    assert isinstance(before, Passage)
    before.leave(failure())
    assert circuits.enter(connection()) == 0.0


def test_a_place_that_was_never_called_has_no_state(circuits: Circuits) -> None:
    call(circuits, connection(Owner.CALLER), failure())
    assert circuits.state_of(OPENAI, "") is None


def test_a_place_is_as_bad_as_the_worst_of_its_addresses(circuits: Circuits, clock: Clock) -> None:
    call(circuits, connection(base_url="http://b/v1"))
    assert circuits.state_of(OPENAI, "") is CircuitState.CLOSED
    opened(circuits)
    assert circuits.state_of(OPENAI, "") is CircuitState.OPEN
    clock.now += REST_SECONDS
    assert circuits.state_of(OPENAI, "") is CircuitState.HALF_OPEN
    assert circuits.state_of(OPENAI, "house") is None


def test_a_short_silence_may_be_the_callers_impatience_and_does_not_open_it(
    circuits: Circuits,
) -> None:
    for _ in range(FAILURES_TO_OPEN * 2):
        call(circuits, connection(), UpstreamFailedError(OPENAI, "!", silent=True, waited=0.1))
    assert state(circuits) is CircuitState.CLOSED


def test_a_long_silence_opens_it(circuits: Circuits) -> None:
    for _ in range(FAILURES_TO_OPEN):
        call(circuits, connection(), UpstreamFailedError(OPENAI, "!", silent=True, waited=30.0))
    assert state(circuits) is CircuitState.OPEN
