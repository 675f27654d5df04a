import threading
from typing import Any

import pytest

from config_core.connection import Connection
from config_core.effective import Target
from config_core.model_configuration import ModelProvider
from config_core.source import Source
from query.prompt_room import PromptRoom
from query.prompt_template import PromptTemplate
from query.prompting import Conversation, Prompter, TargetPrompt
from query.providers.model import Message, Role, ToolCall
from query.retrieval import Found
from service_core.upstream.errors import ContextTooLongError
from tests.unit.query.passages import passage

QUESTION = "¿Cuál es la capital de España?"
TEXTS = {
    "madrid": "Madrid es la capital de España.",
    "roma": "Roma es la capital de Italia.",
    "soria": "Soria está en Castilla.",
}


def found(name: str, collection: str = "cities", text: str = "", **fields: Any) -> Found:
    """A passage."""
    return passage(name, text or TEXTS[name], collection=collection, title=name.title(), **fields)


PASSAGES = [found(name) for name in TEXTS]


def target(provider: ModelProvider, base_url: str = "", model: str = "m") -> Target:
    """Somewhere to send a prompt."""
    return Target(Connection(provider, "", base_url, False, Source.DEFAULT), model)  # noqa: FBT003 # private


LOCAL = target(ModelProvider.LOCAL)
OPENAI = target(ModelProvider.OPENAI, "https://api.example/v1")
BEHIND_AN_ADDRESS = target(ModelProvider.LOCAL, "http://127.0.0.1:8080/v1")


def words(text: str) -> int:
    """The local model's tokenizer."""
    return len(text.split())


def prompter(**changes: Any) -> Prompter:
    """A prompter with limits of its own."""
    room = PromptRoom(
        changes.pop("max_context_tokens", 2000), changes.pop("local_context_tokens", 1000)
    )
    settings = {"count_local_tokens": words, "small_local_model": True, **changes}
    return Prompter(room, PromptTemplate(), **settings)


async def prompt(
    where: Target, passages: list[Found] | None = None, **changes: Any
) -> TargetPrompt:
    """The prompt for a target."""
    asked: dict[str, Any] = {"system_prompt": None, "history": (), "answer_tokens": 100}
    asked |= {name: changes.pop(name) for name in list(changes) if name in asked}
    given = PASSAGES if passages is None else passages
    conversation = Conversation(QUESTION, given, **asked)
    return await prompter(**changes).prompts(conversation)(where)


async def test_the_bundled_model_gets_the_small_shape() -> None:
    small = await prompt(LOCAL)
    assert [message.role for message in small.messages] == [Role.USER, Role.ASSISTANT]
    assert small.stop == ('"',)
    assert [each.hit.document_id for each in small.used] == ["madrid"]


@pytest.mark.parametrize("where", [OPENAI, BEHIND_AN_ADDRESS])
async def test_a_model_behind_an_address_gets_the_standard_shape(where: Target) -> None:
    standard = await prompt(where)
    assert [message.role for message in standard.messages] == [Role.SYSTEM, Role.USER]
    assert (standard.stop, standard.used) == ((), tuple(PASSAGES))


async def test_a_model_of_the_operators_own_gets_the_standard_shape() -> None:
    own = await prompt(LOCAL, small_local_model=False)
    assert [message.role for message in own.messages] == [Role.SYSTEM, Role.USER]


async def test_without_passages_the_small_model_is_asked_as_any_other() -> None:
    plain = await prompt(LOCAL, [])
    assert plain.messages == (Message(Role.USER, QUESTION),)
    assert (plain.used, plain.stop) == ((), ())


async def test_history_and_system_prompt_are_in_the_standard_shape() -> None:
    history = (Message(Role.USER, "Hola"), Message(Role.ASSISTANT, "Buenas"))
    standard = await prompt(OPENAI, system_prompt="Sé breve.", history=history)
    assert standard.messages[0].text.startswith("Sé breve.")
    assert standard.messages[1:3] == history


async def test_the_answer_has_its_room_in_the_local_context() -> None:
    settings: dict[str, Any] = {"local_context_tokens": 200, "small_local_model": False}
    roomy = await prompt(LOCAL, **settings, answer_tokens=10)
    tight = await prompt(LOCAL, **settings, answer_tokens=60)
    assert len(tight.used) < len(roomy.used)


async def test_an_answer_of_any_length_takes_half_of_the_local_context_at_most() -> None:
    half = await prompt(LOCAL, small_local_model=False, answer_tokens=500)
    more = await prompt(LOCAL, small_local_model=False, answer_tokens=10_000)
    assert half == more


async def test_the_local_model_is_counted_with_its_own_tokenizer_off_the_loop() -> None:
    threads: set[str] = set()

    def count(text: str) -> int:
        threads.add(threading.current_thread().name)
        return words(text)

    await prompt(LOCAL, count_local_tokens=count)
    assert threads
    assert threading.current_thread().name not in threads


async def test_other_models_are_never_counted_with_it() -> None:
    def count(_: str) -> int:
        raise AssertionError("the local model would be loaded")

    assert (await prompt(OPENAI, count_local_tokens=count)).used


@pytest.mark.parametrize(
    ("where", "limit"), [(OPENAI, "max_context_tokens"), (LOCAL, "local_context_tokens")]
)
async def test_no_passage_that_fits_is_too_long_and_says_what_to_do(
    where: Target, limit: str
) -> None:
    settings: dict[str, Any] = {limit: 30}
    with pytest.raises(ContextTooLongError, match="shorter question") as caught:
        await prompt(where, **settings)
    assert caught.value.provider is where.connection.provider


async def test_a_question_without_passages_is_never_refused_here() -> None:
    assert (await prompt(OPENAI, [], max_context_tokens=1)).messages


async def test_the_same_chunk_id_in_two_collections_is_two_passages() -> None:
    here, there = found("madrid", "here"), found("madrid", "there", "Madrid tiene un río.")
    assert (await prompt(OPENAI, [here, there])).used == (here, there)


async def test_the_same_passage_in_two_collections_is_cited_from_the_better() -> None:
    here, there = found("madrid", "here"), found("madrid", "there")
    assert (await prompt(OPENAI, [there, here])).used == (there,)


async def test_a_prompt_is_built_once_for_each_shape_and_room() -> None:
    prompt_for = prompter().prompts(Conversation(QUESTION, PASSAGES, answer_tokens=100))
    local, openai = await prompt_for(LOCAL), await prompt_for(OPENAI)
    assert await prompt_for(LOCAL) is local
    assert await prompt_for(target(ModelProvider.MISTRAL, "https://b.example")) is openai
    assert local != openai


async def test_a_model_that_takes_less_gets_less() -> None:
    long = [found(name, text=f"{name} " * 300) for name in TEXTS]
    roomy = await prompt(OPENAI, long, max_context_tokens=5000)
    known = target(ModelProvider.LOCAL, "http://127.0.0.1:8080/v1", "SmolLM2-135M-Instruct")
    tight = await prompt(known, long, max_context_tokens=5000, answer_tokens=2500)
    assert len(tight.used) < len(roomy.used) == 3


WIDE = found("madrid", text="Antes. " * 400 + TEXTS["madrid"] + " Después." * 400, start=0, end=9)
CORE = found("madrid", start=3, end=5).hit


async def test_a_widened_passage_that_does_not_fit_is_used_and_cited_as_it_was_found() -> None:
    wide = Found("cities", WIDE.hit, CORE)
    assert (await prompt(OPENAI, [wide])).used == (Found("cities", CORE),)
    assert (await prompt(OPENAI, [wide], max_context_tokens=9000)).used == (wide,)


async def test_the_heading_of_a_passage_has_its_title_and_section() -> None:
    standard = await prompt(OPENAI, [found("madrid", section="Historia > Hoy")])
    assert "[1] Madrid – Historia > Hoy\n" in standard.messages[0].text


@pytest.mark.parametrize("section", ["Madrid", "Madrid > Hoy"])
async def test_a_section_that_begins_with_the_title_is_the_heading(section: str) -> None:
    standard = await prompt(OPENAI, [found("madrid", section=section)])
    assert f"[1] {section}\n" in standard.messages[0].text


async def test_a_question_that_goes_on_from_a_tool_has_the_standard_shape_everywhere() -> None:
    after = (
        Message(Role.ASSISTANT, "", (ToolCall("1", "clock", "{}"),)),
        Message(Role.TOOL, "Las tres", tool_call_id="1"),
    )
    local = await prompter().prompts(Conversation(QUESTION, PASSAGES, after=after))(LOCAL)
    assert local.messages[0].role is Role.SYSTEM
    assert local.messages[-2:] == after
