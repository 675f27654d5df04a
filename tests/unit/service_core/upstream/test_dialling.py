"""What the guard lets be dialled, without any client."""

from collections.abc import Sequence

import pytest
import structlog

from service_core.upstream.dialling import DialGuard, DialRefusedError, Lookup, look_up

PUBLIC, PRIVATE, METADATA = "8.8.8.8", "10.0.0.7", "169.254.169.254"
NAME = "https://provider.test/v1"


def found(*addresses: str) -> Lookup:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return lookup


def guard(
    url: str = NAME, *addresses: str, private: bool = False, allow_insecure: bool = False
) -> DialGuard:
    return DialGuard(url, private, allow_insecure, found(*addresses))


async def dialled(guarded: DialGuard) -> Sequence[str]:
    return await guarded.addresses("provider.test", 443)


async def test_a_public_address_is_dialled() -> None:
    assert await dialled(guard(NAME, PUBLIC, "2606:4700::1111")) == (PUBLIC, "2606:4700::1111")


@pytest.mark.parametrize("address", [PRIVATE, "127.0.0.1", "::1", "::ffff:10.0.0.7"])
async def test_a_private_address_is_dialled_only_where_the_operator_allows_it(address: str) -> None:
    assert await dialled(guard(NAME, address, private=True)) == (address,)
    with pytest.raises(DialRefusedError):
        await dialled(guard(NAME, address))


@pytest.mark.parametrize(
    "address",
    [
        METADATA,
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1%2",
        "224.0.0.1",
        "240.0.0.1",
    ],
)
@pytest.mark.parametrize("allowed", [False, True])
async def test_other_addresses_are_never_dialled(address: str, *, allowed: bool) -> None:
    with pytest.raises(DialRefusedError):
        await dialled(guard(NAME, address, private=allowed, allow_insecure=allowed))


async def test_one_forbidden_address_refuses_all_of_a_name() -> None:
    with pytest.raises(DialRefusedError):
        await dialled(guard(NAME, PUBLIC, METADATA))


async def test_a_public_address_is_not_dialled_unencrypted_unless_the_operator_says_so() -> None:
    for private in (False, True):
        with pytest.raises(DialRefusedError):
            await dialled(guard("http://provider.test", PUBLIC, private=private))
    assert await dialled(guard("http://provider.test", PUBLIC, allow_insecure=True)) == (PUBLIC,)


async def test_a_private_address_is_dialled_unencrypted() -> None:
    assert await dialled(guard("http://provider.test", PRIVATE, private=True)) == (PRIVATE,)


async def test_a_name_without_an_address_is_no_refusal() -> None:
    with pytest.raises(OSError, match="no address"):
        await dialled(guard(NAME))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "999.1.1.1",
        "[fe80::1%25eth0]",
        "[::ffff:169.254.169.254]",
        METADATA,
        "１２７.0.0.1",
        "①②⑦.⓪.⓪.①",
        "%31%32%37.0.0.1",
        "user@provider.test",
    ],
)
def test_a_host_that_hides_an_address_is_refused_by_its_url(host: str) -> None:
    allowed = host == "127.0.0.1."
    with pytest.raises(DialRefusedError):
        guard(f"https://{host}/v1", private=not allowed).check_url()


@pytest.mark.parametrize("url", ["ftp://provider.test", "file:///etc/passwd", "https://", "x"])
def test_only_http_and_https_are_dialled(url: str) -> None:
    with pytest.raises(DialRefusedError):
        guard(url, private=True, allow_insecure=True).check_url()


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "http://local_host.internal", "https://xn--bcher-kva.test"]
)
def test_a_plain_name_is_left_to_its_addresses(url: str) -> None:
    guard(url).check_url()


def test_through_a_proxy_the_url_alone_is_judged() -> None:
    guard(NAME).check_proxied()
    guard("http://provider.test", private=True).check_proxied()
    for url in ("http://provider.test", "https://169.254.169.254"):
        with pytest.raises(DialRefusedError):
            guard(url).check_proxied()


async def test_the_log_says_what_was_refused_and_the_error_does_not() -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(DialRefusedError) as refused:
        await dialled(guard(NAME, PRIVATE))
    (entry,) = logs
    assert (entry["host"], entry["address"]) == ("provider.test", PRIVATE)
    assert PRIVATE not in str(refused.value)


async def test_names_are_looked_up_as_this_machine_knows_them() -> None:
    assert "127.0.0.1" in await look_up("localhost", 80)
