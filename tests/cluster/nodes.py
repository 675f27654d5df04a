"""Who is in a cluster, and the network between them."""

from dataclasses import dataclass
from typing import Protocol

SIZES = {"agent-execution": 2, "query": 3, "embedding": 2}
"""How many processes of each service."""
CALLS = {"agent-execution": "query", "query": "embedding"}
"""Which service each one calls."""
CALLS_UPSTREAM = ("query", "embedding")


@dataclass(frozen=True, slots=True)
class Node:
    """One process of the cluster, the canned provider, or the test that calls."""

    service: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.service}-{self.number}"


CLIENT = Node("client")
UPSTREAM = Node("upstream")
MEMBERS = tuple(Node(service, number) for service, size in SIZES.items() for number in range(size))


def of(service: str) -> tuple[Node, ...]:
    """The members that are processes of a service; for `client` and `upstream` that one."""
    return tuple(node for node in (*MEMBERS, CLIENT, UPSTREAM) if node.service == service)


class Network(Protocol):
    """Where the nodes are, and how one finds another."""

    def host(self, node: Node) -> str:
        """The address that a node listens on."""
        ...

    def address(self, caller: Node, called: Node) -> str:
        """The address at which one node calls another."""
        ...

    def command(self, node: Node) -> tuple[str, ...]:
        """What stands before a node's command, so that it runs where the node is."""
        ...

    async def cut(self, caller: Node, called: Node) -> None:
        """Let nothing through between two nodes; who sends is not told."""
        ...

    async def heal(self) -> None:
        """Let everything through again."""
        ...
