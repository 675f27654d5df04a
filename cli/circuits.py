"""The circuits of the services that run, for `doctor`: which connections are left alone."""

import asyncio

import grpc
from cascada.config.v1 import configuration_service_pb2 as pb
from cascada.config.v1.configuration_service_pb2_grpc import ConfigurationServiceStub

from cli.checks import CONNECT_SECONDS, Finding, State
from cli.client import default_target, is_reachable
from cli.messages import circuit_name, provider_name
from config_core.settings import Settings
from service_core.outgoing import Outgoing

_CALLERS = ("query", "embedding")
"""The services that call providers."""

_STATES = {
    pb.CIRCUIT_STATE_CLOSED: State.OK,
    pb.CIRCUIT_STATE_HALF_OPEN: State.NOTE,
    pb.CIRCUIT_STATE_OPEN: State.BROKEN,
}
_WORST_FIRST = (State.BROKEN, State.NOTE, State.OK)


async def circuit_findings(settings: Settings) -> list[Finding]:
    """A finding for each provider and endpoint that a running service has called."""
    outgoing = Outgoing.of_command(settings)
    asked = [_ask(outgoing.channel(default_target(settings, service))) for service in _CALLERS]
    found: dict[str, dict[str, pb.CircuitState.ValueType]] = {}
    for service, states in zip(_CALLERS, await asyncio.gather(*asked), strict=True):
        for place, state in states.items():
            found.setdefault(place, {})[service] = state
    return [_finding(place, states) for place, states in sorted(found.items())]


async def _ask(channel: grpc.aio.Channel) -> dict[str, pb.CircuitState.ValueType]:
    """The circuits of one service by provider or endpoint; none where it does not answer."""
    async with channel:
        if not await is_reachable(channel, CONNECT_SECONDS):
            return {}
        try:
            capabilities = await ConfigurationServiceStub(channel).ListCapabilities(
                pb.ListCapabilitiesRequest(), timeout=CONNECT_SECONDS
            )
        except grpc.aio.AioRpcError:
            return {}
    circuits = {row.name: row.circuit for row in capabilities.endpoints}
    circuits |= {provider_name(row.provider): row.circuit for row in capabilities.providers}
    return {place: circuit for place, circuit in circuits.items() if circuit in _STATES}


def _finding(place: str, states: dict[str, pb.CircuitState.ValueType]) -> Finding:
    kinds = {_STATES[state] for state in states.values()}
    worst = next(kind for kind in _WORST_FIRST if kind in kinds)
    detail = ", ".join(f"{circuit_name(state)} at {service}" for service, state in states.items())
    if worst is State.BROKEN:
        detail += ": it has failed repeatedly and is left alone for a while"
    return Finding("circuits", place, worst, detail)
