"""The faults that a client must survive, by name; and the ways to spoil vectors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.upstream.behaviours import (
    Answer,
    Broken,
    Redirect,
    Reset,
    Silence,
    Status,
    sent_vectors,
)
from tests.upstream.exchange import Behaviour, Exchange
from tests.upstream.formats import NATIVE_DIMENSIONS, Content, Wish, embeddings, vector
from tests.upstream.misframed import OldHttp, Unended, WrongType


@dataclass(frozen=True)
class Vectors:
    """Answers embeddings after `change` has been at the entries of `data`; chat it answers well."""

    change: Callable[[list[dict[str, Any]]], object]
    floats: bool = False
    """Whether to ignore the encoding that was asked for."""

    async def respond(self, exchange: Exchange) -> web.StreamResponse:
        """Answer."""
        if exchange.received.operation != "embeddings":
            return await Answer().respond(exchange)
        body = dict(exchange.received.body)
        if self.floats:
            body.pop("encoding_format", None)
        answer = embeddings(body, sent_vectors(exchange))
        self.change(answer["data"])
        return exchange.json(answer)


def with_value(value: float) -> Vectors:
    """Put `value` into the last vector; written as a list of numbers."""

    def change(data: list[dict[str, Any]]) -> None:
        data[-1]["embedding"][0] = value

    return Vectors(change, floats=True)


def zeroed(data: list[dict[str, Any]]) -> None:
    """Make the last vector one of zeros."""
    data[-1]["embedding"] = [0.0] * NATIVE_DIMENSIONS


def garbled(data: list[dict[str, Any]]) -> None:
    """Spoil the encoding of the last vector."""
    data[-1]["embedding"] = f"!{data[-1]['embedding']}"


def shortened(data: list[dict[str, Any]]) -> None:
    """Take a number from the last vector."""
    data[-1]["embedding"] = vector("short", NATIVE_DIMENSIONS - 1)


def doubled(data: list[dict[str, Any]]) -> None:
    """Give the first index twice."""
    data[-1]["index"] = data[0]["index"]


SAME_IDS = Answer(
    Content(
        pieces=(),
        tool_calls=(Wish("call_1", "look", '{"a": 1}'), Wish("call_1", "look", '{"a": 2}')),
        finish_reason="tool_calls",
    )
)
"""Two tool calls that share an id."""


def _list(*behaviours: tuple[str, Behaviour]) -> Mapping[str, Behaviour]:
    return dict(behaviours)


CHAT_FAULTS = _list(
    ("429 with Retry-After", Status(429, headers={"Retry-After": "1"})),
    ("429 without Retry-After", Status(429)),
    ("500", Status(500)),
    ("503 with Retry-After", Status(503, headers={"Retry-After": "1"})),
    ("408", Status(408)),
    ("400", Status(400)),
    ("401 with the key echoed", Status(401, "Incorrect API key provided: {key}.")),
    ("404", Status(404, code="model_not_found")),
    ("redirect", Redirect()),
    ("reset before headers", Reset()),
    ("silence", Silence()),
    ("silence after headers", Silence(headers=True)),
    ("slow first token", Answer(delay=0.3)),
    ("cut", Broken("reset")),
    ("end without a finish", Broken("end")),
    ("stall", Broken("stall")),
    ("malformed chunk", Broken("malformed")),
    ("oversized chunk", Broken("oversized")),
    ("error in mid-stream", Broken("error")),
    ("wrong content type", WrongType()),
    ("missing [DONE]", Unended()),
    ("missing [DONE], held open", Unended(hold=True)),
    ("duplicate ids", SAME_IDS),
    ("HTTP/1.0 close", OldHttp()),
    ("HTTP/1.0 cut", OldHttp(cut=True)),
)
"""What chat must survive; the last of them end in a whole answer."""

VECTOR_FAULTS = _list(
    ("a vector is missing", Vectors(lambda data: data.pop())),
    ("a vector too many", Vectors(lambda data: data.append({**data[0], "index": len(data)}))),
    ("a vector is short", Vectors(shortened)),
    ("a vector is of zeros", Vectors(zeroed)),
    ("an index comes twice", Vectors(doubled)),
    ("NaN in a vector", with_value(math.nan)),
    ("infinity in a vector", with_value(math.inf)),
    ("too large for float32", with_value(1e300)),
    ("a vector is garbled", Vectors(garbled)),
    ("a vector is null", Vectors(lambda data: data[-1].update(embedding=None))),
    ("no vectors", Vectors(lambda data: data.clear())),
)
"""What embeddings must refuse, beside what they share with chat."""

FAULTS: Mapping[str, Behaviour] = {**CHAT_FAULTS, **VECTOR_FAULTS}
