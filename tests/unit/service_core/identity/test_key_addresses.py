"""Keys from an https address: bounded, cached, and kept when the address is away."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from cli.authority import Authority
from config_core.identity import KeySetOrigin
from service_core.identity import key_origins
from service_core.identity.key_origins import MAX_BYTES, key_set_of
from service_core.identity.key_set import KeySet
from tests.unit.service_core.identity.issuing import SigningKey, key_set

FIRST, SECOND = SigningKey(kid="first"), SigningKey(kid="second")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Address:
    """An issuer's address, and how often it was asked."""

    url: str
    ca_file: str
    text: str = field(default_factory=lambda: key_set(FIRST))
    handler: Handler | None = None
    asked: int = 0

    def keys(self, *, trusted: bool = True) -> KeySet:
        ca_file = self.ca_file if trusted else None
        return key_set_of(KeySetOrigin(url=self.url, ca_file=ca_file))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.handler is not None:
            return await self.handler(request)
        return web.Response(text=self.text, content_type="application/json")


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Address]:
    authority = Authority(1)
    pair = authority.issue("issuer", ["127.0.0.1"])
    for name, content in (
        ("ca.pem", authority.pair.certificate),
        ("own.pem", pair.certificate),
        ("own.key", pair.key),
    ):
        (folder / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "own.pem", folder / "own.key")
    address = Address("", str(folder / "ca.pem"))
    app = web.Application()
    app.router.add_get("/keys", address.answer)
    app.router.add_get("/elsewhere", _text(key_set(SECOND)))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    assert site._server is not None  # how else to learn the port
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    address.url = f"https://127.0.0.1:{port}/keys"
    try:
        yield address
    finally:
        await runner.cleanup()


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[Address]:
    async with serving(tmp_path) as found:
        yield found


@asynccontextmanager
async def opened(keys: KeySet) -> AsyncIterator[KeySet]:
    try:
        yield keys
    finally:
        await keys.aclose()


async def test_keys_are_asked_for_once_and_kept(address: Address) -> None:
    async with opened(address.keys()) as keys:
        for _ in range(5):
            assert await keys.find("first", "ES256")
    assert address.asked == 1


async def test_many_calls_at_once_ask_once(address: Address) -> None:
    async with opened(address.keys()) as keys:
        found = await asyncio.gather(*(keys.find("first", "ES256") for _ in range(50)))
    assert all(found)
    assert address.asked == 1


async def test_an_unknown_key_is_asked_for_at_once_and_then_not_again_for_a_while(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_origins, "UNKNOWN_KEY_SECONDS", 0.0)
    async with opened(address.keys()) as eager:
        assert await eager.find("first", "ES256")
        address.text = key_set(FIRST, SECOND)
        assert await eager.find("second", "ES256")
    monkeypatch.undo()
    address.asked = 0
    async with opened(address.keys()) as keys:
        for number in range(20):
            assert await keys.find(f"made up {number}", "ES256") is None
    assert address.asked == 1


async def test_an_old_set_is_replaced_without_a_wait(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_origins, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(key_origins, "UNKNOWN_KEY_SECONDS", 0.0)
    async with opened(address.keys()) as keys:
        assert await keys.find("first", "ES256")
        address.text = key_set(SECOND)
        assert await keys.find("first", "ES256")
        async with asyncio.timeout(20):
            while await keys.find("first", "ES256"):  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)


def _status(code: int) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=code)

    return handler


async def _redirected(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"location": "/elsewhere"})


async def _compressed(_: web.Request) -> web.Response:
    body = gzip.compress(key_set(SECOND).encode())
    return web.Response(body=body, headers={"content-encoding": "gzip"})


async def _dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" ")
        await asyncio.sleep(0.02)
    return response


def _text(text: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return handler


FAULTS = {
    "error": _status(500),
    "not modified": _status(304),
    "redirect": _redirected,
    "too large": _text(key_set(SECOND) + " " * MAX_BYTES),
    "too slow": _dripping,
    "compressed": _compressed,
    "no json": _text("<html>"),
    "too deep": _text("[" * 100_000),
    "no set": _text('{"jwks": []}'),
    "too many": _text('{"keys": [' + ",".join(["{}"] * 101) + "]}"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_last_good_keys_serve_while_the_address_is_away(
    fault: str, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_origins, "UNKNOWN_KEY_SECONDS", 0.0)
    async with opened(address.keys()) as keys:
        assert await keys.find("first", "ES256")
        monkeypatch.setattr(key_origins, "FETCH_SECONDS", 0.3)
        address.handler = FAULTS[fault]
        with structlog.testing.capture_logs() as logs:
            assert await keys.find("second", "ES256") is None
        assert await keys.find("first", "ES256")
    assert {entry["place"] for entry in logs} == {address.url}
    assert address.asked >= 2


async def test_a_server_that_nobody_vouches_for_is_not_believed(address: Address) -> None:
    with structlog.testing.capture_logs() as logs:
        async with opened(address.keys(trusted=False)) as keys:
            assert await keys.find("first", "ES256") is None
    assert address.asked == 0
    assert logs


async def test_the_loop_goes_on_while_keys_are_fetched(address: Address) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def held(_: web.Request) -> web.Response:
        asked.set()
        await answer.wait()
        return web.Response(text=address.text)

    address.handler = held
    async with opened(address.keys()) as keys:
        waiting = asyncio.create_task(keys.find("first", "ES256"))
        await asked.wait()  # the loop serves the address itself
        assert not waiting.done()
        answer.set()
        assert await waiting


async def test_a_caller_that_goes_away_ends_no_fetch_for_the_others(address: Address) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def held(_: web.Request) -> web.Response:
        asked.set()
        await answer.wait()
        return web.Response(text=address.text)

    address.handler = held
    async with opened(address.keys()) as keys:
        first = asyncio.create_task(keys.find("first", "ES256"))
        await asked.wait()
        second = asyncio.create_task(keys.find("first", "ES256"))
        first.cancel()
        await asyncio.wait([first])
        answer.set()
        assert await second
    assert address.asked == 1
