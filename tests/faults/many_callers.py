"""Many callers at once, each with a key of its own, and an upstream that checks who brings it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cascada.agent_execution.v1 import agent_execution_service_pb2 as pb
from cascada.config.v1.model_configuration_pb2 import ModelConfiguration
from cascada.embedding.v1 import embedding_service_pb2

from config_core.convert import provider_to_wire
from config_core.model_configuration import ModelProvider
from tests.faults.replies import ASK, CALL_SECONDS, Reply
from tests.faults.services import PROVIDERS, Services
from tests.upstream.behaviours import Answer, Broken, Silence
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.formats import Content
from tests.upstream.server import UpstreamServer

WAIT_SECONDS = 60.0
KINDS = ("chat", "stream", "chat", "stream", "embed", "cancelled chat", "cancelled stream")

_TOKEN = re.compile(r"request (\d+) of caller (\d+)")


def key_of(caller: int) -> str:
    """The caller's own key."""
    return f"sk-caller-{caller}-0123456789abcdef"


def message_of(request: int, caller: int) -> str:
    """A message that says whose key must come with it."""
    return f"request {request} of caller {caller}"


@dataclass
class Checking:
    """Compares each request's key with that of the caller whose message it carries."""

    upstream: UpstreamServer
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    to_cancel: dict[int, asyncio.Future[Received]] = field(default_factory=dict)

    def __call__(self, received: Received) -> Behaviour:
        """Check, and answer what only this request is answered."""
        self.upstream.requests.clear()
        text = str(received.body.get("messages") or received.body.get("input") or received.body)
        found = _TOKEN.search(text)
        assert found, "a request without a token"
        request, caller = map(int, found.groups())
        self.checked += 1
        if received.key != key_of(caller):
            self.wrong.append(f"{found.group()} came with {received.key}")
        seen = self.to_cancel.get(request)
        if seen is not None:
            seen.set_result(received)
            return Broken("stall") if received.operation == "stream" else Silence()
        return Answer(Content(pieces=("an answer to ", found.group())))


@dataclass
class Callers:
    """Sends requests of many callers."""

    services: Services
    checking: Checking
    callers: int
    at_once: int
    sent: int = 0
    cancelled: int = 0
    wrong: list[str] = field(default_factory=list)
    """Answers that are another request's, or none."""

    async def send(self, count: int) -> None:
        """Send requests, `at_once` at a time, and wait for the last of them."""
        numbers = iter(range(self.sent, self.sent + count))
        self.sent += count

        async def work() -> None:
            for number in numbers:
                await self._send_one(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.at_once):
                group.create_task(work())

    async def _send_one(self, number: int) -> None:
        caller = number % self.callers
        # The caller's number and the request's walk apart, so that every key meets every kind.
        kind = KINDS[(number + number // self.callers) % len(KINDS)]
        provider = PROVIDERS[number // 2 % len(PROVIDERS)]
        message = message_of(number, caller)
        if kind == "embed":
            await self._embed(message, caller)
            return
        configuration = _configuration(provider, caller, registered=bool(number % 2))
        if kind.startswith("cancelled"):
            await self._cancel(kind, number, message, configuration)
            return
        ask: Callable[..., Awaitable[Reply]] = ASK[kind]
        reply = await ask(self.services, message, configuration)
        if reply.text != f"an answer to {message}":
            self.wrong.append(f"{message}: {reply.reason} {reply.text!r}")

    async def _embed(self, message: str, caller: int) -> None:
        configuration = ModelConfiguration(
            embedding_provider=provider_to_wire(ModelProvider.OPENAI),
            embedding_api_key=key_of(caller),
        )
        request = embedding_service_pb2.EmbedRequest(
            texts=[message], model_configuration=configuration
        )
        response = await self.services.embedding.Embed(request, timeout=CALL_SECONDS)
        if len(response.embeddings) != 1:
            self.wrong.append(message)

    async def _cancel(
        self, kind: str, number: int, message: str, configuration: ModelConfiguration
    ) -> None:
        """Cancel once the upstream has the request, and wait until it sees that."""
        seen: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        self.checking.to_cancel[number] = seen
        call: Any
        if kind.endswith("stream"):
            call = self.services.agent.StreamExecute(
                pb.StreamExecuteRequest(message=message, model_configuration=configuration),
                timeout=CALL_SECONDS,
            )
        else:
            call = self.services.agent.Execute(
                pb.ExecuteRequest(message=message, model_configuration=configuration),
                timeout=CALL_SECONDS,
            )
        waiting = asyncio.ensure_future(call.code())
        async with asyncio.timeout(WAIT_SECONDS):
            received = await seen
            call.cancel()
            await received.over.wait()
            await waiting
        del self.checking.to_cancel[number]
        self.cancelled += 1
        if not received.left:
            self.wrong.append(f"{message} was cancelled, and the provider did not see it")


def _configuration(provider: ModelProvider, caller: int, *, registered: bool) -> ModelConfiguration:
    """The caller's own key, for the provider's own service or for a registered endpoint."""
    configuration = ModelConfiguration(chat_api_key=key_of(caller), retry_attempts=0)
    if registered:
        configuration.chat_endpoint = f"at-{provider}"
    else:
        configuration.chat_provider = provider_to_wire(provider)
    return configuration
