"""What a chat model is told to order passages, and how its order is read."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from query.boundary import DATA_RULE, begun, boundary_of, ended
from query.providers.model import Message, Role
from query.retrieval import heading_of
from query.store import Hit
from query.tokens import BYTES_PER_TOKEN, estimate_tokens

_RULES = """\
You order passages by how well they answer a question. Answer with one JSON object and nothing \
else: {{"order": [number, …]}} with the numbers of the {count} passages that help most, best first.
{data_rule}"""
_ASKED = """\
Order the passages by how well they answer this question, and answer with the JSON object only:

{question}"""
_QUESTION_SHARE = 4  # the question has at most one part in so many of the room
_LEAST_TOKENS = 48  # less of a passage than this does not tell what it is about
_NUMBER = re.compile(r"[\[ ]*\d{1,3}[\] ]*")
_LISTED = re.compile(r"\[[\s\d,.\"']*\]")


def ranking_prompt(
    question: str, hits: Sequence[Hit], top_k: int, room: int
) -> tuple[Message, ...]:
    """The messages, within `room` tokens as far as that has room for anything.

    Question and passages are cut where they are too long; of the passages each gets an equal part,
    and where that would be next to nothing the last ones are left out.
    """
    question = _cut(question, room // _QUESTION_SHARE)
    texts = [text for hit in hits for text in (heading_of(hit), hit.text)]
    boundary = boundary_of([question, *texts])
    rules = _RULES.format(
        count=min(top_k, len(hits)), data_rule=DATA_RULE.format(boundary=boundary)
    )
    frame = begun(boundary, len(hits), "", "")
    left = room - estimate_tokens(rules + _ASKED + question + ended(boundary))
    hits = hits[: max(1, left // (_LEAST_TOKENS + estimate_tokens(frame)))]
    each = left // len(hits) - estimate_tokens(frame)
    blocks = []
    for number, hit in enumerate(hits, start=1):
        heading = _cut(heading_of(hit), each // 2)
        text = _cut(hit.text.strip(), each - estimate_tokens(heading))
        blocks.append(begun(boundary, number, heading, text))
    data = "\n".join([*blocks, ended(boundary)])
    return (
        Message(Role.SYSTEM, f"{rules}\n\n{data}"),
        Message(Role.USER, _ASKED.format(question=question)),
    )


def read_order(answer: str, count: int) -> list[int]:
    """The places (from 0) that an answer names, each once, best first; none where it names none."""
    places: dict[int, None] = {}
    for number in _numbers(answer):
        if 1 <= number <= count:
            places.setdefault(number - 1)
    return list(places)


def _numbers(answer: str) -> Iterator[int]:
    """The numbers of the JSON, or of the first list in whatever else the model wrote."""
    found = _parsed(answer)
    if found is None:
        listed = _LISTED.search(answer)
        found = _parsed(listed[0]) if listed else None
    if isinstance(found, dict):
        found = found.get("order", next((each for each in found.values() if _is_list(each)), None))
    for entry in found if _is_list(found) else ():
        if isinstance(entry, bool):
            continue
        if isinstance(entry, int):
            yield entry
        elif isinstance(entry, str) and _NUMBER.fullmatch(entry):
            yield int(entry.strip("[] "))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_list(found: Any) -> bool:
    return isinstance(found, list)


def _cut(text: str, tokens: int) -> str:
    """The beginning of a text that is estimated at no more than so many tokens."""
    kept = text.encode("utf-8", "surrogatepass")[: max(0, tokens) * BYTES_PER_TOKEN]
    return kept.decode("utf-8", "ignore")
