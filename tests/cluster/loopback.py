"""A network on this machine's loopback addresses, with a relay on each way from node to node."""

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Self

from tests.cluster.nodes import CALLS, CALLS_UPSTREAM, CLIENT, MEMBERS, UPSTREAM, Node, of
from tests.cluster.relay import Relay

_NODES = (CLIENT, UPSTREAM, *MEMBERS)


class Loopback:
    """Each node has an address in 127.0.0.0/8, and one more for each node that calls it."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """`ports` is each service's, and that of `upstream`: the same at all its addresses."""
        self._relays = {
            (caller, called): Relay(
                (self.address(caller, called), ports[called.service]),
                (self.host(called), ports[called.service]),
            )
            for caller, called in _ways()
        }
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for relay in self._relays.values():
            await self._resources.enter_async_context(relay)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._resources.aclose()

    def host(self, node: Node) -> str:
        """The address that a node listens on."""
        return f"127.100.0.{1 + _NODES.index(node)}"

    def address(self, caller: Node, called: Node) -> str:
        """The address at which one node calls another: the relay's."""
        return f"127.{101 + _NODES.index(caller)}.0.{1 + _NODES.index(called)}"

    def command(self, node: Node) -> tuple[str, ...]:  # noqa: ARG002 # every node is here
        """Nothing: every node runs on this machine as it is."""
        return ()

    async def cut(self, caller: Node, called: Node) -> None:
        """Let nothing through between two nodes; who sends is not told."""
        self._relays[caller, called].cut()

    async def heal(self) -> None:
        """Let everything through again."""
        for relay in self._relays.values():
            relay.heal()


def _ways() -> Iterator[tuple[Node, Node]]:
    for member in MEMBERS:
        yield CLIENT, member
        for called in of(CALLS.get(member.service, "")):
            yield member, called
        if member.service in CALLS_UPSTREAM:
            yield member, UPSTREAM
