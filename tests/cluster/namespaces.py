"""A network of namespaces: each node is a machine of its own, on a cable to one router."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from typing import Self

from tests.cluster.nodes import CLIENT, MEMBERS, UPSTREAM, Node

_NODES = (CLIENT, UPSTREAM, *MEMBERS)


class Namespaces:
    """Needs root. The test itself stays in its own namespace, with a cable to the router too.

    What a node sends to one that it is cut off from is dropped by the router without a word.
    """

    def __init__(self) -> None:
        # So that two runs beside one another don't meet.
        self._prefix = f"cl{os.getpid() % 100_000:05}"
        self._rules: list[tuple[str, str]] = []

    async def __aenter__(self) -> Self:
        await self._ip("netns", "add", self._name("r"))
        try:
            await self._forward()
            for node in _NODES:
                await self._plug(node)
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._remove()

    @staticmethod
    async def why_not() -> str | None:
        """Why this machine can't have any; None where it can."""
        if shutil.which("ip") is None:
            return "needs the command ip (iproute2)"
        name = f"cl{os.getpid()}"
        for action in ("add", "del"):
            process = await asyncio.create_subprocess_exec(
                "ip", "netns", action, name, stderr=asyncio.subprocess.DEVNULL
            )
            if await process.wait():
                return "needs the right to make network namespaces (root)"
        return None

    def host(self, node: Node) -> str:
        """The address of a node's machine."""
        return f"10.213.{_NODES.index(node)}.2"

    def address(self, caller: Node, called: Node) -> str:  # noqa: ARG002 # it is the same for all
        """The address at which one node calls another."""
        return self.host(called)

    def command(self, node: Node) -> tuple[str, ...]:
        """What runs a command on a node's machine."""
        ip = shutil.which("ip")
        assert ip is not None
        return (ip, "netns", "exec", self._name(str(_NODES.index(node))))

    async def cut(self, caller: Node, called: Node) -> None:
        """Let nothing through between two nodes; who sends is not told."""
        for sender, receiver in ((caller, called), (called, caller)):
            rule = self.host(sender), self.host(receiver)
            await self._in_router("rule", "add", "from", rule[0], "to", rule[1], "blackhole")
            self._rules.append(rule)

    async def heal(self) -> None:
        """Let everything through again."""
        while self._rules:
            sender, receiver = self._rules.pop()
            await self._in_router("rule", "del", "from", sender, "to", receiver, "blackhole")

    async def unplug(self, node: Node) -> None:
        """Pull a node's cable out at the router."""
        await self._in_router("link", "set", self._name(f"r{_NODES.index(node)}"), "down")

    async def plug_in(self, node: Node) -> None:
        """Put it back."""
        await self._in_router("link", "set", self._name(f"r{_NODES.index(node)}"), "up")

    async def _forward(self) -> None:
        command = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        await self._ip("netns", "exec", self._name("r"), "sh", "-c", command)

    async def _plug(self, node: Node) -> None:
        number = _NODES.index(node)
        here, there = self._name(f"n{number}"), self._name(f"r{number}")
        await self._ip("link", "add", here, "type", "veth", "peer", "name", there)
        await self._ip("link", "set", there, "netns", self._name("r"))
        await self._in_router("addr", "add", f"10.213.{number}.1/24", "dev", there)
        await self._in_router("link", "set", there, "up")
        where: Sequence[str] = ()
        if node != CLIENT:
            machine = self._name(str(number))
            await self._ip("netns", "add", machine)
            await self._ip("link", "set", here, "netns", machine)
            where = ("-n", machine)
            await self._ip(*where, "link", "set", "lo", "up")
        await self._ip(*where, "addr", "add", f"10.213.{number}.2/24", "dev", here)
        await self._ip(*where, "link", "set", here, "up")
        await self._ip(*where, "route", "add", "10.213.0.0/16", "via", f"10.213.{number}.1")

    async def _remove(self) -> None:
        # A cable goes with either of its ends, and with it its addresses and routes.
        for name in ("r", *map(str, range(len(_NODES)))):
            process = await asyncio.create_subprocess_exec(
                "ip", "netns", "del", self._name(name), stderr=asyncio.subprocess.DEVNULL
            )
            await process.wait()

    async def _in_router(self, *arguments: str) -> None:
        await self._ip("-n", self._name("r"), *arguments)

    async def _ip(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec("ip", *arguments)
        assert await process.wait() == 0, arguments

    def _name(self, name: str) -> str:
        return f"{self._prefix}{name}"
