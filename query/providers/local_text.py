"""Keeps text from becoming control tokens of the local model.

The engine writes messages and its own control tokens into one text and reads that as a whole: a
message with `<|im_end|>` in it would end itself and begin another one. Which texts are such tokens
depends on the model file, so that its own tokenizer is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

_BREAK = " "


class Tokenizer(Protocol):
    """The tokens of a text as ids and texts, with control tokens or with what spells them."""

    def __call__(self, text: str, *, control: bool) -> Sequence[tuple[int, str]]:
        """Tokenize."""
        ...


def without_control_tokens(messages: Sequence[Any], tokenize: Tokenizer) -> list[Any]:
    """The same messages, with a space behind the first character of what would be a control token.

    Blocking: it asks the tokenizer twice, and more often where there is such a text.
    """
    texts = list(_texts(messages))
    if not _control_tokens("\n".join(texts), tokenize):
        return list(messages)
    plain = {text: _plain(text, tokenize) for text in texts}
    return [_replaced(message, plain) for message in messages]


def _plain(text: str, tokenize: Tokenizer) -> str:
    while marks := _control_tokens(text, tokenize):
        for mark in marks:
            broken = mark[0] + _BREAK + mark[1:] if len(mark) > 1 else _BREAK
            text = text.replace(mark, broken)
    return text


def _control_tokens(text: str, tokenize: Tokenizer) -> list[str]:
    """The texts of the control tokens that are read in a text, the longest first."""
    with_control = tokenize(text, control=True)
    spelt = set(tokenize(text, control=False))
    suspects = {token for token in with_control if token not in spelt and token[1]}
    found = {mark for key, mark in suspects if list(tokenize(mark, control=False)) != [(key, mark)]}
    return sorted((mark for mark in found if mark in text), key=len, reverse=True)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a message, wherever it stands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _replaced(value: Any, plain: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return plain[value]
    if isinstance(value, Mapping):
        return {name: _replaced(each, plain) for name, each in value.items()}
    return [_replaced(each, plain) for each in value] if isinstance(value, list) else value
