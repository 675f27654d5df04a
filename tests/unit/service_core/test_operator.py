"""What an operator sees of the operator's own, and other callers don't."""

from types import SimpleNamespace
from typing import Any

import pytest
from cascada.config.v1 import configuration_service_pb2 as pb
from pydantic import SecretStr

from config_core.fingerprint import fingerprint
from config_core.identity import Role
from config_core.model_configuration import ModelProvider
from config_core.place import Claim, Place
from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshots
from config_core.source import Source
from config_core.sources import environment
from service_core.circuit import Circuits, Passage
from service_core.configuration_servicer import ConfigurationServicer
from service_core.identity import Caller, acting
from service_core.request_context import Peers
from service_core.trace import HopReport, Tracer
from tests.unit.config_core.support import chat, snapshot

ENVIRON = {"GROQ_API_KEY": "gsk-of-the-operator", "CASCADA_CHAT_PROVIDER": "groq"}
KEY = SecretStr("the key of the fingerprints")
OPERATOR = Caller("token ops", "acme", frozenset({Role.CALLER, Role.OPERATOR}))
WEB = Caller("token web", "acme", frozenset({Role.CALLER}))
HERE: Any = SimpleNamespace(peer=lambda: "unix:")


@pytest.fixture
def servicer() -> ConfigurationServicer:
    """A service that has called Groq."""
    snapshots = Snapshots(None, environment.read(ENVIRON), LocalSecrets(ENVIRON))
    circuits = Circuits()
    place = Place(ModelProvider.GROQ)
    connection, _ = snapshots.current.registry("acme").connect("chat", place, Claim(Source.REQUEST))
    passage = circuits.enter(connection)
    assert isinstance(passage, Passage)
    passage.leave(None)
    return ConfigurationServicer(
        snapshots, Peers(), ["chat"], calls=["chat"], circuits=circuits, fingerprint_key=KEY
    )


async def circuits_shown(servicer: ConfigurationServicer) -> set[pb.CircuitState.ValueType]:
    answer = await servicer.ListCapabilities(pb.ListCapabilitiesRequest(), HERE)
    return {row.circuit for row in answer.providers} - {pb.CIRCUIT_STATE_UNSPECIFIED}


async def test_circuits_are_shown_to_operators(servicer: ConfigurationServicer) -> None:
    assert await circuits_shown(servicer) == {pb.CIRCUIT_STATE_CLOSED}  # identity is off
    with acting(OPERATOR):
        assert await circuits_shown(servicer) == {pb.CIRCUIT_STATE_CLOSED}
    with acting(WEB):
        assert await circuits_shown(servicer) == set()


async def fingerprints_shown(servicer: ConfigurationServicer) -> dict[str, str]:
    answer = await servicer.ResolveConfiguration(pb.ResolveConfigurationRequest(), HERE)
    return dict(answer.operations[0].effective.key_fingerprints)


async def test_fingerprints_of_the_operators_keys_are_shown_to_operators(
    servicer: ConfigurationServicer,
) -> None:
    assert await fingerprints_shown(servicer) == {}  # identity is off
    with acting(OPERATOR):
        shown = await fingerprints_shown(servicer)
    assert shown == {"chat": fingerprint(SecretStr(ENVIRON["GROQ_API_KEY"]), KEY)}
    with acting(WEB):
        assert await fingerprints_shown(servicer) == {}


def test_so_they_are_in_a_trace() -> None:
    hop = HopReport("query", chat(snapshot({}, ENVIRON)), 0.0)

    def shown() -> set[str]:
        return set(Tracer(KEY).to_wire([hop]).hops[0].effective.key_fingerprints)

    assert shown() == set()
    with acting(OPERATOR):
        assert shown() == {"chat"}
    with acting(WEB):
        assert shown() == set()
