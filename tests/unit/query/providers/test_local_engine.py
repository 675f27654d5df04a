import asyncio
import http.client
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
import xllamacpp

from query.providers.local_engine import EngineState, LocalChatEngine
from query.providers.local_errors import (
    LocalContextError,
    LocalGenerationError,
    LocalModelUnavailableError,
    LocalRequestError,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARIS = (
    "The capital of France is Paris.\n\n"
    "Using the text above, answer: What is the capital of France?"
)
LONG_PROMPT = "The river flows through the city. " * 300
STORY = "Write a very long story about a river."


def body(content: str, **options: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"messages": messages, "temperature": 0, "max_tokens": 24, **options}


def text_of(chunk: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


async def until_idle(engine: LocalChatEngine) -> None:
    while engine._running:  # noqa: ASYNC110 - the engine tells nobody when a worker has ended
        await asyncio.sleep(0.005)


async def consume(engine: LocalChatEngine, request: dict[str, Any]) -> None:
    async for _ in engine.stream(request):
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LocalChatEngine]:
    engine = LocalChatEngine(slots=1, threads=1)
    yield engine
    await engine.close()


async def test_nothing_is_loaded_before_the_first_use() -> None:
    engine = LocalChatEngine()
    assert (engine.state, engine.loaded) == (EngineState.NOT_LOADED, False)
    await engine.close()


async def test_loading_makes_it_ready(engine: LocalChatEngine) -> None:
    await engine.load()
    assert (engine.state, engine.loaded) == (EngineState.READY, True)


async def test_concurrent_loads_load_once() -> None:
    engine = LocalChatEngine(slots=2, context_tokens=256)
    with mock.patch.object(engine, "_open", wraps=engine._open) as opened:
        await asyncio.gather(engine.load(), engine.load(), engine.load())
    assert opened.call_count == 1
    await engine.close()


async def test_the_bundled_model_answers_from_the_text(engine: LocalChatEngine) -> None:
    answer = await engine.complete(body(PARIS))
    assert "Paris" in answer["choices"][0]["message"]["content"]


async def test_a_completion_has_the_shape_of_openai(engine: LocalChatEngine) -> None:
    answer = await engine.complete(body(PARIS, max_tokens=2))
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


async def test_the_answer_names_the_model_and_not_its_folder(engine: LocalChatEngine) -> None:
    answer = await engine.complete(body(PARIS, max_tokens=1))
    assert answer["model"] == engine.model_name == "SmolLM2-135M-Instruct.Q4_1"


async def test_tokens_arrive_one_by_one_while_the_engine_still_works(
    engine: LocalChatEngine,
) -> None:
    async with aclosing(engine.stream(body(STORY, max_tokens=200))) as chunks:
        first = [text_of(chunk) async for chunk, _ in _first(chunks, 4)]
        assert engine._running
    assert [len(piece.split()) <= 1 for piece in first] == [True] * 4
    await until_idle(engine)


async def _first(
    chunks: AsyncIterator[dict[str, Any]], count: int
) -> AsyncIterator[tuple[dict[str, Any], int]]:
    for index in range(count):
        yield await anext(chunks), index


async def test_the_last_chunk_carries_the_usage(engine: LocalChatEngine) -> None:
    chunks = [chunk async for chunk in engine.stream(body(PARIS, max_tokens=3))]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if "usage" in chunk] == [3]
    assert "usage" in chunks[-1]


async def test_closing_the_stream_stops_the_generation(engine: LocalChatEngine) -> None:
    stream = engine.stream(body(STORY, max_tokens=4000))
    await anext(stream)
    await stream.aclose()
    await asyncio.wait_for(until_idle(engine), 10)  # 4000 tokens take more than half a minute


async def test_cancelling_the_task_stops_a_prompt_under_evaluation(
    engine: LocalChatEngine,
) -> None:
    await engine.load()
    task = asyncio.create_task(consume(engine, body(LONG_PROMPT)))
    while not engine._running:  # noqa: ASYNC110 - nor when it begins
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(until_idle(engine), 5)  # the prompt takes more than 10 s


async def test_a_request_that_waits_for_a_slot_can_be_cancelled(engine: LocalChatEngine) -> None:
    busy = engine.stream(body(STORY, max_tokens=4000))
    await anext(busy)
    waiting = asyncio.create_task(consume(engine, body(PARIS)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await busy.aclose()
    await until_idle(engine)


async def test_the_slot_is_free_again_after_a_cancelled_request(engine: LocalChatEngine) -> None:
    busy = engine.stream(body(STORY, max_tokens=4000))
    await anext(busy)
    await busy.aclose()
    answer = await asyncio.wait_for(engine.complete(body(PARIS)), 30)
    assert "Paris" in answer["choices"][0]["message"]["content"]


async def test_a_slow_reader_loses_nothing(
    engine: LocalChatEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query.providers.local_bridge._BRIDGE_CHUNKS", 2)
    request = body(STORY, max_tokens=12)
    pieces = []
    async for chunk in engine.stream(request):
        pieces.append(text_of(chunk))
        await asyncio.sleep(0.05)
    answer = await engine.complete(request)
    assert "".join(pieces) == answer["choices"][0]["message"]["content"]


async def test_the_loop_stays_free_while_the_engine_works(engine: LocalChatEngine) -> None:
    await engine.load()
    task = asyncio.create_task(engine.complete(body(STORY, max_tokens=40)))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 40


async def test_a_prompt_over_the_context_says_both_numbers(engine: LocalChatEngine) -> None:
    with pytest.raises(LocalContextError) as caught:
        await engine.complete(body(LONG_PROMPT * 3))
    assert caught.value.prompt_tokens > caught.value.context_tokens == engine.context_tokens


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"messages": [{"role": "user", "content": "canary"}], "temperature": "canary"},
        {"messages": [{"role": "user", "content": "canary"}], "tools": [{"bad": "canary"}]},
    ],
)
async def test_a_request_that_the_engine_refuses_is_a_request_error_without_its_text(
    engine: LocalChatEngine, request_body: dict[str, Any]
) -> None:
    with pytest.raises(LocalRequestError) as caught:
        await engine.complete(request_body)
    assert "canary" not in str(caught.value)


async def test_tokens_are_counted_by_the_model(engine: LocalChatEngine) -> None:
    await engine.load()
    answer = await engine.complete(body("Hola, ¿qué tal?", max_tokens=1))
    longer = await engine.complete(body("Hola, ¿qué tal? Hola", max_tokens=1))
    more = longer["usage"]["prompt_tokens"] - answer["usage"]["prompt_tokens"]
    assert engine.count_tokens(" Hola") == more


async def test_the_listener_refuses_whoever_has_no_key(engine: LocalChatEngine) -> None:
    await engine.load()
    for key in ("", "Bearer wrong"):
        assert _post(engine._socket_path, key) == 401


async def test_the_listener_is_a_file_in_a_folder_of_this_user_alone(
    engine: LocalChatEngine,
) -> None:
    await engine.load()
    folder = Path(engine._socket_path).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_the_engine_writes_nothing_to_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = LocalChatEngine(slots=1, threads=1, context_tokens=256)
    await engine.complete(body(PARIS, max_tokens=2))
    await engine.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "missing"), (b"", "broken"), (b"not a model", "broken"), (b"GGUF" * 99, "broken")],
)
async def test_a_file_that_is_no_model_says_what_to_do(
    tmp_path: Path, content: bytes | None, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    engine = LocalChatEngine(path)
    with pytest.raises(LocalModelUnavailableError, match="make setup") as caught:
        await engine.complete(body(PARIS))
    assert (caught.value.reason, engine.state) == (reason, EngineState.FAILED)
    assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    await engine.close()


async def test_a_folder_is_no_model(tmp_path: Path) -> None:
    engine = LocalChatEngine(tmp_path)
    with pytest.raises(LocalModelUnavailableError) as caught:
        await engine.load()
    assert caught.value.reason == "unreadable"
    await engine.close()


async def test_closing_ends_what_runs_and_what_waits() -> None:
    engine = LocalChatEngine(slots=1, threads=1)
    running = engine.stream(body(STORY, max_tokens=4000))
    await anext(running)
    waiting = asyncio.create_task(consume(engine, body(PARIS)))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(LocalGenerationError):
        _ = [chunk async for chunk in running]
    with pytest.raises(LocalGenerationError):
        await waiting


async def test_closing_removes_the_socket_and_can_be_repeated() -> None:
    engine = LocalChatEngine(slots=1, threads=1, context_tokens=256)
    await engine.load()
    folder = Path(engine._socket_path).parent
    await engine.close()
    await engine.close()
    assert not folder.exists()


async def test_it_has_answered_once_loaded_so_that_closing_it_then_ends() -> None:
    # One whose loop has not begun would be joined for ever, with the interpreter's lock held.
    engine = LocalChatEngine(slots=1, threads=1, context_tokens=256)
    real = xllamacpp.Server
    answered: list[object] = []

    class Watched:
        def __init__(self, parameters: object) -> None:
            self._server = real(parameters)

        def handle_completions(self, request: object, _: Callable[[object], None]) -> None:
            self._server.handle_completions(request, answered.append)

    with mock.patch.object(xllamacpp, "Server", Watched):
        await engine.load()
    assert answered
    await engine.close()


async def test_a_long_temporary_folder_does_not_break_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", os.fspath(long))
    engine = LocalChatEngine(slots=1, threads=1, context_tokens=256)
    await engine.load()
    await engine.close()


def _post(path: str, authorization: str) -> int:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    headers = {"Authorization": authorization} if authorization else {}
    connection.request("POST", "/v1/chat/completions", "{}", headers)
    status = connection.getresponse().status
    connection.close()
    return status
