"""The guard of tests/conftest.py: the network is off unless a test is live."""

import asyncio
import socket

import pytest

ABROAD = ("192.0.2.1", 443)  # a documentation address: reaches nobody even if the guard is broken


def test_a_socket_may_not_leave_this_host() -> None:
    with socket.socket() as client, pytest.raises(Exception, match="the network is off"):
        client.connect(ABROAD)


def test_connect_ex_may_not_leave_this_host() -> None:
    with socket.socket() as client, pytest.raises(Exception, match="the network is off"):
        client.connect_ex(ABROAD)


async def test_asyncio_may_not_leave_this_host() -> None:
    with pytest.raises(Exception, match="the network is off"):
        await asyncio.wait_for(asyncio.open_connection(*ABROAD), timeout=5)


def test_a_socket_reaches_a_server_on_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
