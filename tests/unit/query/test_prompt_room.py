import pytest

from config_core.connection import Connection
from config_core.effective import Target
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from query.prompt_room import PromptRoom, in_process

ROOM = PromptRoom(max_context_tokens=8000, local_context_tokens=4096)


def target(provider: ModelProvider, model: str = "m", base_url: str = "http://h/v1") -> Target:
    return Target(Connection(provider, "", base_url, private=False, source=Source.DEFAULT), model)


IN_PROCESS = target(ModelProvider.LOCAL, base_url="")
SMALL = target(ModelProvider.LOCAL, "SmolLM2-135M-Instruct")


def test_a_model_without_an_address_is_the_one_of_this_process() -> None:
    assert in_process(IN_PROCESS)
    assert not in_process(SMALL)


def test_a_model_that_nobody_knows_has_the_operators_limit() -> None:
    assert ROOM.tokens(target(ModelProvider.OPENAI), 1000) == 8000


def test_a_model_that_takes_more_has_the_operators_limit() -> None:
    assert ROOM.tokens(target(ModelProvider.OPENAI, "gpt-4o"), 1000) == 8000


@pytest.mark.parametrize("where", [SMALL, IN_PROCESS])
def test_a_model_that_takes_less_has_its_own_without_the_answer(where: Target) -> None:
    assert ROOM.tokens(where, 1000) == 3096


@pytest.mark.parametrize("where", [SMALL, IN_PROCESS])
def test_an_answer_of_any_length_leaves_half_of_the_context(where: Target) -> None:
    assert ROOM.tokens(where, 100_000) == 2048


def test_the_operators_limit_holds_for_the_model_of_this_process_too() -> None:
    assert PromptRoom(1000, 4096).tokens(IN_PROCESS, 100) == 1000


def test_the_same_models_name_at_another_provider_is_another_model() -> None:
    assert ROOM.tokens(target(ModelProvider.OPENAI, "SmolLM2-135M-Instruct"), 9) == 8000
