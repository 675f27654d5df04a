"""Channels to other services, and the question whether a raw key may travel over one."""

import ipaddress
import json
import re
from functools import lru_cache
from urllib.parse import unquote

import grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

# A channel to several addresses spreads its calls and leaves out who says NOT_SERVING.
_BALANCED = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
)

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<name>[^:/\[\]@]+))(?::[0-9]+)?")


def create_channel(
    target: str, *, tls: grpc.ChannelCredentials | None = None, server_name: str = ""
) -> grpc.aio.Channel:
    """Opens a channel; the owner closes it.

    Args:
        target: A gRPC target, such as `localhost:50052`, `unix:/run/query`, `dns:///query:50052` or
            `ipv4:10.0.0.7:50052,10.0.0.8:50052`. The last two forms spread calls over all
            addresses of the name or list.
        tls: Credentials of an encrypted channel; None is plain text.
        server_name: The name that the server's certificate has to carry; empty is the target's.
    """
    options: list[tuple[str, str | int]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # Retries have one owner: the service that calls the provider.
        ("grpc.enable_retries", 0),
        # A peer that vanished or froze is noticed after 15 s, not after 15 minutes: a balanced
        # channel leaves it out from then on. Our servers let a client ping that often.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # gRPC also pings to measure. While such a ping has no answer, keepalive sends none of its
        # own, and by default it waits a minute.
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        # A restarted service is found again after 5 s at most; the default is 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if is_balanced(target):
        options.append(("grpc.service_config", _BALANCED))
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    if tls is not None:
        return grpc.aio.secure_channel(target, tls, options=options)
    # A proxy from the environment would carry plain text, keys included, to another host.
    options.append(("grpc.enable_http_proxy", 0))
    return grpc.aio.insecure_channel(target, options=options)


def is_balanced(target: str) -> bool:
    """Tells whether a target may be several addresses, over which calls are spread."""
    return target.startswith("dns:///") or is_list(target)


def is_list(target: str) -> bool:
    """Tells whether a target is a list of addresses."""
    return target.startswith(("ipv4:", "ipv6:")) and "," in unquote(target)


def is_secure_or_local(target: str, *, tls: bool, allow_insecure: bool = False) -> bool:
    """Tells whether a raw key may travel to `target`.

    It may over TLS, to a loopback address, `localhost` or a unix socket, and everywhere with
    `allow_insecure`, the operator's word (`CASCADA_ALLOW_INSECURE`). A target that cannot be
    understood counts as remote.
    """
    return tls or allow_insecure or _is_local_target(target)


@lru_cache(maxsize=1024)
def is_local_peer(peer: str) -> bool:
    """Tells whether `ServicerContext.peer()` is a loopback address or a unix socket."""
    scheme, _, address = unquote(peer).partition(":")
    if scheme in {"unix", "unix-abstract"}:
        return True
    return scheme in {"ipv4", "ipv6"} and _is_loopback_address(address)


def is_socket(target: str) -> bool:
    """Tells whether a target is a unix socket."""
    return target.startswith(("unix:", "unix-abstract:"))


def is_loopback_host(host: str) -> bool:
    """Tells whether a server on `host` is heard by this machine alone."""
    bare = host.removeprefix("[").removesuffix("]")
    return bare.lower().removesuffix(".") == "localhost" or _is_loopback(bare)


def _is_local_target(target: str) -> bool:
    if is_socket(target):
        return True
    if target.startswith(("ipv4:", "ipv6:")):
        addresses = unquote(target.partition(":")[2]).lstrip("/").split(",")
        return all(_is_loopback_address(address) for address in addresses)
    # `dns://server/name` asks a server of its own, which may say anything about `localhost`.
    host = _host(target.removeprefix("dns:///").removeprefix("dns:"))
    if host is None:
        return False
    return is_loopback_host(host)


def _is_loopback_address(address: str) -> bool:
    host = _host(address)
    return host is not None and _is_loopback(host)


def _host(address: str) -> str | None:
    """The host of `host`, `host:port` or `[v6]:port`; None for any other form."""
    match = _HOST.fullmatch(address)
    return (match["v6"] or match["name"]) if match else None


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
