import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.prompt import Passage, Prompt, PromptRequest
from query.providers.model import Message, Role
from query.small_prompt import small_prompt

FRANCE = Passage("c1", "d1", "France", "# France\n\nThe capital of France is Paris. It is old.")
SPAIN = Passage("c2", "d2", "España", "La capital de España es Madrid. El Ebro es un río.")


def small(
    *passages: Passage,
    question: str = "What is the capital of France?",
    system_prompt: str = "",
    budget: int = 2000,
) -> Prompt:
    return small_prompt(
        PromptRequest(
            question,
            passages,
            system_prompt,
            [Message(Role.USER, "Earlier")],
            budget,
            len,
        )
    )


def seen(built: Prompt) -> str:
    return next(message.text for message in built.messages if message.role is Role.USER)


def test_the_small_model_continues_a_quotation_up_to_its_end() -> None:
    built = small(FRANCE)
    assert built.messages[-1].role is Role.ASSISTANT
    assert built.messages[-1].text.endswith('"')
    assert built.stop == ('"',)


def test_a_quotation_mark_in_a_passage_does_not_end_the_answer() -> None:
    quoting = Passage("c", "d", "", 'The "capital" of France is Paris.')
    assert seen(small(quoting)).startswith("The 'capital' of France is Paris.\n")


def test_the_small_model_reads_the_text_before_the_question() -> None:
    text, question = seen(small(SPAIN, FRANCE)).split("\n\n")
    assert "The capital of France is Paris." in text
    assert "What is the capital of France?" in question


def test_the_small_model_does_not_see_headings() -> None:
    assert "#" not in seen(small(FRANCE))


def test_only_passages_that_the_small_model_sees_are_used() -> None:
    assert [used.passage for used in small(SPAIN, FRANCE).used] == [FRANCE]


def test_words_meet_in_spite_of_accents_and_endings() -> None:
    built = small(SPAIN, FRANCE, question="¿qué RIOS tiene?")
    assert "El Ebro es un río." in seen(built)


def test_where_no_word_is_shared_the_small_model_sees_the_first_passage_whole() -> None:
    built = small(FRANCE, SPAIN, question="首都?")
    assert "The capital of France is Paris. It is old." in seen(built)
    assert [used.passage for used in built.used] == [FRANCE]


def test_the_small_model_gets_the_system_prompt_and_no_earlier_turn() -> None:
    built = small(FRANCE, system_prompt="Be brief.")
    assert [message.role for message in built.messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT]
    assert "Earlier" not in seen(built)


@pytest.mark.parametrize("text", ["# France\n## The capital", "### Paris, capital of France"])
def test_a_passage_of_headings_alone_is_quoted_from_their_words(text: str) -> None:
    built = small(Passage("c", "d", "", text))
    assert len(built.used) == 1
    assert "capital" in seen(built)
    assert "#" not in seen(built)


def test_a_passage_of_headings_before_others_does_not_hide_them() -> None:
    built = small(Passage("c", "d", "", "##"), SPAIN, question="首都?")
    assert [used.passage for used in built.used] == [SPAIN]


@pytest.mark.parametrize("text", ["", " \n ", "#"])
def test_where_there_is_no_sentence_none_is_claimed(text: str) -> None:
    built = small(Passage("c", "d", "", text))
    assert (built.used, built.stop) == ((), ())


def test_a_passage_that_is_too_wide_gives_way_to_its_core() -> None:
    wide = Passage("c", "d", "", "Rome is the capital of Italy. " * 99, "Paris is in France.")
    [used] = small(wide).used
    assert used.text == "Paris is in France."


def test_a_prompt_is_the_same_each_time() -> None:
    assert small(FRANCE, SPAIN) == small(FRANCE, SPAIN)


@given(st.lists(st.text(max_size=120), max_size=6), st.integers(40, 1500))
@settings(max_examples=100)
def test_the_messages_stay_within_the_budget(passages: list[str], budget: int) -> None:
    built = small(
        *(Passage(str(n), "d", "T", text) for n, text in enumerate(passages)),
        question="Q?",
        budget=budget,
    )
    assert sum(len(message.text) for message in built.messages) <= budget
