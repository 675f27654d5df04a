"""The prompt for the bundled model, which follows no instructions.

It gets the sentence that shares most with the question, the question, and the beginning of an
answer that quotes. Told to answer freely, that model changes names and numbers even of a single
sentence.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from query.prompt import Prompt, PromptRequest, Used, budget_of
from query.providers.model import Message, Role

SENTENCES = 1
"""Sentences that the model gets to see: a second one already distracts it."""

_QUESTION = "{text}\n\nUsing the text above, answer: {question}"
_ANSWER = 'The text says: "'
_STOP = '"'

_NEXT_PASSAGE = 0.5
_STEM = 4  # characters by which words are compared, so that "join" meets "joined"

_HEADING_LINE = re.compile(r"^ {0,3}#{1,6}(?:[ \t].*)?$", re.MULTILINE)
_HEADING_MARK = re.compile(r"^ {0,3}#{1,6}(?:[ \t]+|$)", re.MULTILINE)
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?…]+(?=\s|$)|[。！？]|(?=\n)|$)")
_WORD = re.compile(r"\w{3,}")


def small_prompt(request: PromptRequest) -> Prompt:
    """The messages for a new question and its passages; system prompt first, no history.

    Without any sentence to quote none is used: the caller must not let the model invent one.
    """
    budget = budget_of(request)
    fitting: list[Used] = []
    if budget.take(_QUESTION, _ANSWER):
        for passage in request.passages:
            text = next((each for each in passage.versions if budget.take(each)), None)
            if text is not None:
                fitting.append(Used(passage, text))
    sentences = _best_sentences(request.question, [used.text for used in fitting])
    system = [Message(Role.SYSTEM, request.system_prompt)] if request.system_prompt else []
    if not sentences:
        return Prompt((*system, Message(Role.USER, request.question)), ())
    text = " ".join(sentence for _, sentence in sentences).replace(_STOP, "'")
    question = _QUESTION.format(text=text, question=request.question)
    messages = (Message(Role.USER, question), Message(Role.ASSISTANT, _ANSWER))
    used = [fitting[index] for index in sorted({index for index, _ in sentences})]
    return Prompt((*system, *messages), tuple(used), (_STOP,))


def _best_sentences(question: str, passages: Sequence[str]) -> list[tuple[int, str]]:
    """The sentences that share most with the question, each with its passage's index.

    A shared word counts more the fewer sentences have it, and half as much in each next passage:
    words alone would prefer a passage in the question's language to the right one in another.
    Where none is shared it is the most relevant passage whole.
    """
    sentences = [
        (index, match[0])
        for index, passage in enumerate(passages)
        for match in _SENTENCE.finditer(_without_headings(passage))
    ]
    stems = [_stems(sentence) for _, sentence in sentences]
    frequency = Counter(stem for each in stems for stem in each)
    asked = _stems(question)
    scores = [
        sum(1 / frequency[stem] for stem in sorted(asked & each)) * _NEXT_PASSAGE**index
        for (index, _), each in zip(sentences, stems, strict=True)
    ]
    if not any(scores):
        return [(index, sentence) for index, sentence in sentences if index == sentences[0][0]]
    best = sorted(range(len(sentences)), key=lambda place: (-scores[place], place))
    return [sentences[place] for place in best[:SENTENCES] if scores[place]]


def _without_headings(passage: str) -> str:
    """The passage without its headings; one that is nothing else keeps their words."""
    text = _HEADING_LINE.sub("", passage)
    return text if text.strip() else _HEADING_MARK.sub("", passage)


def _stems(text: str) -> set[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return {word[:_STEM] for word in _WORD.findall(plain.lower())}
