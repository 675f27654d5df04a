"""A canned OpenAI-compatible provider that costs next to nothing, in a process of its own.

`python -m bench.upstream PORT` answers every chat with the same text, whole or as a stream, and
every embeddings request with a vector a text. It reads no more of a request than it has to: a chat
costs it some 15 µs.
"""

import argparse
import asyncio
import base64
import json
import random
import struct
from typing import cast

import uvloop

DIMENSIONS = 384
TOKENS = 200
ANSWER = "The answer is in the passage [1]."

_VECTORS = 256
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class _Canned:
    """The bodies to answer with."""

    def __init__(self, tokens: int, dimensions: int) -> None:
        usage = {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}
        common = {"id": "chatcmpl-1", "created": 1, "model": "bench-model"}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": ANSWER},
            "finish_reason": "stop",
        }
        chat = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
        self.chat = _whole(json.dumps(chat).encode())
        chunk = {**common, "object": "chat.completion.chunk"}

        def event(delta: dict[str, str], reason: str | None = None, **more: object) -> bytes:
            choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
            return b"data: " + json.dumps({**chunk, "choices": choices, **more}).encode() + b"\n\n"

        events = [event({"role": "assistant", "content": "w0 "})]
        events += [event({"content": f"w{n} "}) for n in range(1, tokens)]
        last = event({}, "stop", usage=usage) + b"data: [DONE]\n\n"
        self.stream = [_STREAM_HEAD, *map(_chunk, events), _chunk(last) + b"0\r\n\r\n"]
        rng = random.Random(7)  # noqa: S311 # vectors are no secret
        self._vectors = [
            struct.pack(f"<{dimensions}f", *(rng.gauss(0, 1) for _ in range(dimensions)))
            for _ in range(_VECTORS)
        ]
        self._encoded = [base64.b64encode(vector).decode() for vector in self._vectors]
        self._listed = [list(struct.unpack(f"<{dimensions}f", v)) for v in self._vectors]
        self._next = 0

    def embeddings(self, body: bytes) -> bytes:
        """A vector for each text of the request."""
        request = json.loads(body)
        texts = request["input"]
        count = 1 if isinstance(texts, str) else len(texts)
        form = self._encoded if request.get("encoding_format") == "base64" else self._listed
        data = []
        for index in range(count):
            self._next = (self._next + 1) % _VECTORS
            data.append({"object": "embedding", "index": index, "embedding": form[self._next]})
        usage = {"prompt_tokens": count, "total_tokens": count}
        answer = {"object": "list", "data": data, "model": "bench-model", "usage": usage}
        return _whole(json.dumps(answer).encode())


def _whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class _Connection(asyncio.Protocol):
    """One client's connection: whole requests in, canned answers out."""

    def __init__(self, canned: _Canned, wait: float) -> None:
        self._canned = canned
        self._wait = wait
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:head_end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r", 1)[0])
            end = head_end + 4 + length
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[head_end + 4 : end], self._buffer[end:]
            if self._wait:
                asyncio.get_running_loop().call_later(self._wait, self._answer, head, body)
            else:
                self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if b"/embeddings" in head.split(b"\r", 1)[0]:
            self._transport.write(self._canned.embeddings(body))
        elif b'"stream":true' in body or b'"stream": true' in body:
            for piece in self._canned.stream:
                self._transport.write(piece)
        else:
            self._transport.write(self._canned.chat)


async def serve(port: int, *, wait: float = 0.0, tokens: int = TOKENS, dimensions: int) -> None:
    """Serve on 127.0.0.1 until cancelled; `wait` seconds pass before each answer."""
    canned = _Canned(tokens, dimensions)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(canned, wait), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--wait", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    given = parser.parse_args()
    uvloop.run(serve(given.port, wait=given.wait, tokens=given.tokens, dimensions=given.dimensions))


if __name__ == "__main__":
    main()
