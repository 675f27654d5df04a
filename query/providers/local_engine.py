"""Runs a GGUF chat model inside this process: llama.cpp's server engine, off the network."""

import asyncio
import http.client
import importlib
import json
import secrets
import shutil
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import Any

from query.providers.local_bridge import Bridge
from query.providers.local_errors import (
    LocalGenerationError,
    LocalModelUnavailableError,
    LocalRequestError,
)
from query.providers.local_model import BUNDLED_FILE, bundled_model, usable
from query.providers.local_socket import SocketConnection, private_folder
from query.providers.local_text import without_control_tokens
from service_core import processors

_BATCH_TOKENS = 64  # the engine looks for cancellation between batches: 64 are 0.2 to 0.4 s
_COMPLETION_KEYS = frozenset({"id", "created", "model", "usage"})


class EngineState(StrEnum):
    """Where the model stands, for health."""

    NOT_LOADED = "not loaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class LocalChatEngine:
    """A chat model of this process, for one event loop.

    `slots` requests run at once, each with `context_tokens` of its own (0.1 GB of memory a slot
    with the bundled model); the others wait in order. Its prompts never outlive a request, so an
    answer does not depend on what others asked before. `threads` is by default one less than the
    machine has cores: the engine's threads spin, and one that must share its core makes all slow
    (ten times slower, seen on two cores).
    """

    def __init__(
        self,
        model_path: Path | None = None,
        *,
        slots: int = 2,
        context_tokens: int = 4096,
        threads: int | None = None,
    ) -> None:
        self.context_tokens = context_tokens
        self._path = model_path
        self._slots = slots
        self._threads = threads or max(1, min(4, processors.usable() - 1))
        self._free = asyncio.Semaphore(slots)
        self._executor = ThreadPoolExecutor(slots, "local-chat")
        self._lock = threading.Lock()
        self._server: Any = None
        self._socket_path = ""
        self._key = secrets.token_urlsafe(32)
        self._running: set[Bridge] = set()
        self._closed = False
        self.state = EngineState.NOT_LOADED

    @property
    def loaded(self) -> bool:
        """Whether requests start at once."""
        return self.state is EngineState.READY

    @property
    def model_name(self) -> str:
        """The model file's name without its suffix, as answers name it; never its folder."""
        return (self._path or Path(BUNDLED_FILE)).stem

    async def load(self) -> None:
        """Load the model unless it is loaded. LocalModelUnavailableError; a later call retries.

        The engine holds the interpreter for the 0.3 s or so that the bundled model takes.
        """
        if self._server is None:
            self._check_open()
            await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The answer to an OpenAI-shaped chat body, in `chat.completion.chunk`s, usage last.

        Closing the iterator or cancelling its task returns at once. The engine stops before the
        next token, or in a prompt before the next batch of it, and only then frees the slot.
        """
        await self.load()
        await self._free.acquire()
        bridge = Bridge(asyncio.get_running_loop())
        try:
            self._check_open()
            work = bridge.loop.run_in_executor(self._executor, self._run, dict(body), bridge)
        except BaseException:
            self._free.release()
            raise
        self._running.add(bridge)
        work.add_done_callback(lambda _: self._finished(bridge))
        try:
            async for chunk in bridge.chunks():
                yield chunk
        finally:
            bridge.cancel()

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer to an OpenAI-shaped chat body, as a `chat.completion`."""
        answer: dict[str, Any] = {}
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        calls: dict[int, dict[str, Any]] = {}
        finish_reason = None
        async with aclosing(self.stream(body)) as chunks:
            async for chunk in chunks:
                answer |= {key: chunk[key] for key in _COMPLETION_KEYS & chunk.keys()}
                for choice in chunk["choices"]:
                    finish_reason = choice["finish_reason"] or finish_reason
                    message["content"] += choice["delta"].get("content") or ""
                    for delta in choice["delta"].get("tool_calls") or ():
                        _add_tool_call(calls, delta)
        if calls:
            message["tool_calls"] = [calls[index] for index in sorted(calls)]
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        return {**answer, "object": "chat.completion", "choices": [choice]}

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` for this model, without the chat template's own (30 or so a prompt).

        Blocking, 0.3 ms; loads the model if need be, so await `load` first on an event loop.
        """
        self._load()
        return len(self._tokens(text, control=False))

    async def close(self) -> None:
        """End what runs with LocalGenerationError and free the model. Closing twice is harmless."""
        self._closed = True
        for bridge in self._running:
            bridge.cancel()
        await asyncio.to_thread(self._shut_down)

    def _tokens(self, text: str, *, control: bool) -> list[tuple[int, str]]:
        """Ids and texts of the tokens; "" for one that is not a whole character."""
        connection = SocketConnection(self._socket_path)
        body = json.dumps({"content": text, "parse_special": control, "with_pieces": True})
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/tokenize", body, headers)
            tokens = json.loads(connection.getresponse().read())["tokens"]
            return [(each["id"], _text(each["piece"])) for each in tokens]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            raise LocalGenerationError("The local model's tokenizer does not answer.") from None
        finally:
            connection.close()

    def _shut_down(self) -> None:
        self._executor.shutdown(wait=True)
        with self._lock:
            self._server = None
            self.state = EngineState.NOT_LOADED
            if self._socket_path:
                shutil.rmtree(Path(self._socket_path).parent, ignore_errors=True)

    def _check_open(self) -> None:
        if self._closed:
            raise LocalGenerationError("The local model was closed.")

    def _finished(self, bridge: Bridge) -> None:
        self._running.discard(bridge)
        self._free.release()

    def _load(self) -> None:
        with self._lock:
            if self._server is not None:
                return
            self._check_open()
            self.state = EngineState.LOADING
            try:
                self._open(usable(self._path or bundled_model()))
            except BaseException:
                self.state = EngineState.FAILED
                raise
            self.state = EngineState.READY

    def _open(self, path: Path) -> None:
        """Start the engine. It must listen: on a socket file of ours, for a random key."""
        try:
            xllamacpp = importlib.import_module("xllamacpp")
        except ImportError:
            raise LocalModelUnavailableError("engine") from None
        folder = private_folder()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.model_alias = {self.model_name}
        parameters.hostnames = [f"{folder}/engine.sock"]
        parameters.api_keys = [self._key]
        parameters.ui = parameters.endpoint_slots = False
        parameters.endpoint_props = parameters.endpoint_metrics = False
        parameters.n_threads_http = 2
        parameters.n_parallel = self._slots
        parameters.n_ctx = self.context_tokens * self._slots  # the slots share it evenly
        parameters.n_batch = parameters.n_ubatch = _BATCH_TOKENS
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self._threads
        parameters.cache_prompt = False
        parameters.cache_ram_mib = 0  # 8 GB by default
        parameters.warmup = False
        parameters.verbosity = -1
        try:
            server = xllamacpp.Server(parameters)
            # Until its loop has begun, the engine would not hear that it is to end, and whoever
            # frees it would wait for ever, with the interpreter's lock: hence a first answer.
            server.handle_completions({"prompt": "a", "n_predict": 1}, _ignore)
        except Exception:  # noqa: BLE001 - the engine names no types
            raise LocalModelUnavailableError("broken") from None
        self._server = server
        self._socket_path = parameters.hostnames[0]

    def _run(self, body: dict[str, Any], bridge: Bridge) -> None:
        """Generate in a worker thread until done or cancelled."""
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        body["return_progress"] = True  # calls back between batches of the prompt, to be cancelled
        try:
            body["messages"] = without_control_tokens(body["messages"], self._tokens)
            self._server.handle_chat_completions(body, bridge.offer)
        except LocalGenerationError as error:
            bridge.send(error)
        except Exception:  # noqa: BLE001 - the engine names no types, and its text may quote the prompt
            bridge.send(LocalRequestError("The local model does not take this request."))
        else:
            closed = LocalGenerationError("The local model was closed.") if self._closed else None
            bridge.send(closed)


def _ignore(_: object) -> None:
    """Take an answer that nobody needs."""


def _text(piece: Any) -> str:
    return piece if isinstance(piece, str) else ""


def _add_tool_call(calls: dict[int, dict[str, Any]], delta: Mapping[str, Any]) -> None:
    empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    call = calls.setdefault(delta["index"], empty)
    call["id"] += delta.get("id") or ""
    for key, text in delta.get("function", {}).items():
        call["function"][key] = call["function"].get(key, "") + (text or "")
