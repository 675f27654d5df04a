"""Reaching a service: at the target given, where one listens by default, or in this process."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc

from cli.embedded import embedded_services
from cli.exits import CommandError, ExitCode
from cli.failures import of_call, unreachable
from cli.output import Output
from config_core.settings import Settings
from service_core.outgoing import Outgoing, own_channel

CONNECT_SECONDS = 5.0

# A service limits an operation to an hour; its own error says more than one of the deadline.
_LONGEST_SECONDS = 3600.0
_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Client:
    """An open channel to one service."""

    channel: grpc.aio.Channel
    service: str
    target: str


@asynccontextmanager
async def connect(
    service: str,
    target: str | None,
    output: Output,
    *,
    carries_key: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> AsyncIterator[Client]:
    """Opens a channel to a service for the block; turns its failing calls into CommandError.

    Args:
        service: `agent-execution`, `query` or `embedding`.
        target: Where the service must be; None takes the environment's target or, where none is
            set and nothing listens at the default port, starts the services in this process.
        output: Where to tell what happens.
        carries_key: Whether a raw key is going to be sent, which no plain connection to another
            machine may carry.
        environ: The environment.

    Raises:
        CommandError: The service can't be reached, or a call in the block failed.
        ConfigurationFileError: The environment or the configuration file is invalid.
    """
    settings = Settings.read(environ)
    outgoing = Outgoing.of_command(settings)
    wanted = target or _environment_target(settings, service)
    at = wanted or default_target(settings, service)
    if carries_key and not outgoing.may_carry_keys(at):
        raise CommandError(
            f"A raw key does not leave over an unencrypted connection to {at}: use TLS (--tls, "
            "--ca), a registered secret instead, or set CASCADA_ALLOW_INSECURE=1.",
            ExitCode.REFUSED,
        )
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(outgoing.channel(at))
        if not await is_reachable(channel):
            if wanted:
                raise unreachable(service, at)
            with output.working("Starting the services…"):
                embedded = await stack.enter_async_context(embedded_services(environ, output))
            at = embedded.targets[service]
            channel = await stack.enter_async_context(own_channel(at, embedded.token))
        try:
            yield Client(channel, service, at)
        except grpc.aio.AioRpcError as error:
            raise of_call(error, service, at) from None


def deadline(timeout: float | None) -> float:
    """Seconds after which a call is given up, when the service should have done so long before."""
    return (timeout or _LONGEST_SECONDS) + _MARGIN_SECONDS


def default_target(settings: Settings, service: str) -> str:
    """Where a service is by default: at the port that this environment would give it."""
    if service != "agent-execution":
        return settings.target_of(service)
    # Its port on the host at which the query service would be.
    own = settings.model_copy(
        update={"query_target": "", "query_port": settings.agent_execution_port}
    )
    return own.target_of("query")


async def is_reachable(channel: grpc.aio.Channel, seconds: float = CONNECT_SECONDS) -> bool:
    """Tells whether the channel connects, as soon as that is known."""
    try:
        async with asyncio.timeout(seconds):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    return False
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        return False
    return True


def _environment_target(settings: Settings, service: str) -> str:
    return {"query": settings.query_target, "embedding": settings.embedding_target}.get(service, "")
