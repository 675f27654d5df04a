"""The three chat adapters, each against an upstream server of the test's own."""

from collections.abc import Mapping

import pytest

from config_core.model_configuration import ModelProvider
from query.providers.groq import GroqChat
from query.providers.mistral import MistralChat
from query.providers.model import ChatCall, Message, Role
from query.providers.openai import OpenAIChat
from query.providers.wire_chat import WireChat
from service_core.upstream.clients import ClientPool
from tests.upstream.fixtures import clients, upstream
from tests.upstream.server import UpstreamServer

__all__ = ["clients", "upstream"]

ADAPTERS: Mapping[ModelProvider, type[WireChat]] = {
    ModelProvider.OPENAI: OpenAIChat,
    ModelProvider.GROQ: GroqChat,
    ModelProvider.MISTRAL: MistralChat,
}


@pytest.fixture(params=ADAPTERS, ids=str)
def provider(request: pytest.FixtureRequest) -> ModelProvider:
    chosen: ModelProvider = request.param
    return chosen


@pytest.fixture
def chat(provider: ModelProvider, clients: ClientPool) -> WireChat:
    return ADAPTERS[provider](clients)


@pytest.fixture
def call(provider: ModelProvider, upstream: UpstreamServer) -> ChatCall:
    """A plain question."""
    return ChatCall(
        connection=upstream.connection(provider),
        model="some-model",
        messages=(Message(Role.USER, "¿Qué tal?"),),
    )
