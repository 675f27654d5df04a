"""Asks a provider once: the whole JSON answer, or the JSON chunks of a stream.

Both raise only `UpstreamError`s, with nothing of an SDK as cause or context.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import msgspec

from config_core.connection import Connection
from config_core.errors import CredentialMissingError
from service_core.upstream.clients import ClientPool, HttpResponse, Operation
from service_core.upstream.clients_http import MAX_REFUSAL_BYTES, REFUSAL_SECONDS
from service_core.upstream.errors import UpstreamError
from service_core.upstream.sse import EventTooLargeError, ServerSentEvent, SseDecoder
from service_core.upstream.translate import (
    broken,
    from_error_object,
    from_exception,
    from_response,
    name_of,
    request_id_of,
)
from service_core.upstream.translate_clean import is_usable, well_formed

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""Of 2,048 vectors of 3,072 numbers."""
MAX_CHAT_ANSWER_BYTES = 8 * 1024 * 1024
"""As for an event of a stream: what JSON is decoded to may take twenty times as much."""
_DONE = b"[DONE]"
_DRAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One call to a provider: where to, with whose key, and the JSON to send."""

    connection: Connection
    model: str
    operation: Operation
    body: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The key to send, "" for an endpoint without one; CredentialMissingError."""
        credential = self.connection.credential
        if credential is not None:
            return credential.key.get_secret_value()
        if self.connection.keyless:
            return ""
        raise CredentialMissingError(f"There is no key for {name_of(self.connection)}.")


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """A JSON object that a provider sent, and its id of the request."""

    data: dict[str, Any]
    request_id: str


async def ask(clients: ClientPool, question: Question) -> JsonAnswer:
    """Give the answer in one piece."""
    failure: UpstreamError
    key = question.key
    try:
        async with (
            clients.lease(question.connection) as client,
            client.post(question.operation, question.body, key=key, stream=False) as response,
        ):
            return await _read_answer(question, response)
    except UpstreamError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 # whatever an SDK raises ends here
        failure = from_exception(question.connection, error)
    raise failure


async def ask_stream(clients: ClientPool, question: Question) -> AsyncGenerator[JsonAnswer, None]:
    """Give the chunks of a stream until `[DONE]` or the end of the body, whichever comes first.

    Closing the generator closes the response. Whether the stream was whole is for the reader of
    the chunks to say.
    """
    failure: UpstreamError
    request_id = ""
    key = question.key
    try:
        async with (
            clients.lease(question.connection) as client,
            client.post(question.operation, question.body, key=key, stream=True) as response,
        ):
            request_id = request_id_of(question.connection, response.headers)
            await _check_stream(question, response)
            pieces = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
            async with aclosing(pieces):
                decoder, chunks = SseDecoder(), _Chunks(question, response)
                async for piece in pieces:
                    for event in decoder.feed(piece):
                        if event.data.strip() == _DONE:
                            await _drain(pieces)
                            return
                        yield JsonAnswer(chunks.read(event), request_id)
                for event in decoder.end():
                    if event.data.strip() != _DONE:
                        yield JsonAnswer(chunks.read(event), request_id)
                return
    except UpstreamError as error:
        failure = error
    except EventTooLargeError:
        failure = broken(question.connection, "sent a chunk without end", request_id)
    except Exception as error:  # noqa: BLE001 # whatever an SDK raises ends here
        failure = from_exception(question.connection, error, request_id)
    raise failure


async def _drain(pieces: AsyncGenerator[bytes, None]) -> None:
    """Read to the end of the body, if it is near: only then can the connection be used again."""
    with suppress(Exception):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass


async def _check_stream(question: Question, response: HttpResponse) -> None:
    if response.status_code != HTTPStatus.OK:
        raise await _refusal(question, response)
    if _media_type(response) != "text/event-stream":
        raise _unexpected_type(question, response)


async def _read_answer(question: Question, response: HttpResponse) -> JsonAnswer:
    connection = question.connection
    request_id = request_id_of(connection, response.headers)
    if response.status_code != HTTPStatus.OK:
        raise await _refusal(question, response)
    if not _media_type(response).endswith("json"):
        raise _unexpected_type(question, response)
    data = _decoded(await _body(question, response))
    if data is None:
        raise broken(connection, "answered with something that is not a JSON object", request_id)
    if data.get("error"):
        raise from_error_object(connection, question.model, response.headers, data)
    return JsonAnswer(_with_usable_model(connection, data), request_id)


async def _refusal(question: Question, response: HttpResponse) -> UpstreamError:
    return from_response(
        question.connection,
        question.model,
        response.status_code,
        response.headers,
        await _refusal_body(response),
    )


async def _refusal_body(response: HttpResponse) -> bytes:
    """What comes of a refusal's body, whole or not: the status stands without it."""
    body = bytearray()
    pieces = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
    with suppress(Exception):
        async with asyncio.timeout(REFUSAL_SECONDS), aclosing(pieces):
            async for piece in pieces:
                body += piece
                if len(body) > MAX_REFUSAL_BYTES:
                    break
    return bytes(body[:MAX_REFUSAL_BYTES])


async def _body(question: Question, response: HttpResponse) -> bytes:
    body = bytearray()
    chat = question.operation is Operation.CHAT
    limit = MAX_CHAT_ANSWER_BYTES if chat else MAX_ANSWER_BYTES
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > limit:
                raise broken(question.connection, "sent an answer without end")
    return bytes(body)


class _Chunks:
    """Reads the events of one stream."""

    def __init__(self, question: Question, response: HttpResponse) -> None:
        self._question = question
        self._response = response
        self._model: object = question.model
        """The name that is known to be usable: a provider says the same one each time."""

    def read(self, event: ServerSentEvent) -> dict[str, Any]:
        """The JSON of an event; raises UpstreamError."""
        connection, headers = self._question.connection, self._response.headers
        data = _decoded(event.data)
        if event.name == "error" or (data and (data.get("error") or data.get("object") == "error")):
            raise from_error_object(connection, self._question.model, headers, data)
        if data is None:
            request_id = request_id_of(connection, headers)
            raise broken(connection, "sent a malformed chunk", request_id)
        if data.get("model") != self._model:
            self._model = _with_usable_model(connection, data).get("model")
        return data


def _with_usable_model(connection: Connection, data: dict[str, Any]) -> dict[str, Any]:
    """The same, without a model's name that holds the call's key: names stand in the trace."""
    if isinstance(data.get("model"), str) and not is_usable(connection, data["model"]):
        del data["model"]
    return data


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        data = _json(body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        # Knows NaN, lone surrogates and byte order marks besides.
        return _well_formed(json.loads(body))


def _well_formed(data: Any) -> Any:
    """The same without lone surrogates, which no message of ours can carry."""
    if isinstance(data, str):
        return well_formed(data)
    if isinstance(data, list):
        return [_well_formed(item) for item in data]
    if isinstance(data, dict):
        return {well_formed(name): _well_formed(value) for name, value in data.items()}
    return data


def _media_type(response: HttpResponse) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unexpected_type(question: Question, response: HttpResponse) -> UpstreamError:
    request_id = request_id_of(question.connection, response.headers)
    return broken(question.connection, "answered with another kind of content", request_id)
