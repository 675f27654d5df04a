"""The store's URL: where the server is, which is the driver's to read, and the store's settings."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL. Its repr shows no part of the URL: user, password and host stay out of logs."""

    dsn: str = field(repr=False)
    """The URL without the store's own settings, for the driver."""
    named: frozenset[str]
    """What the URL itself says to the driver and the server, by name."""
    pool_size: int
    """The most connections of one process, but for the one that builds indexes."""
    timeout_seconds: int
    """The longest that one statement may take, and that a free connection is waited for."""
    hnsw_from: int
    """How many chunks a collection must have to get an index of its vectors."""
    hnsw_memory_megabytes: int
    """The most of the server's memory that building one index may take."""
    upkeep_milliseconds: int
    """The pause between two looks at what there is to build."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read the URL; a ValueError never shows a part of it."""
        try:
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
            _check_ports(parts, query)
        except ValueError:
            raise ValueError(
                "a PostgreSQL store's URL is postgresql://user:password@host:port/database with "
                "percent-encoded parts, and settings behind a question mark: ?sslmode=verify-full"
            ) from None
        if query.get("sslmode", "prefer") not in _SSL_MODES:
            modes = ", ".join(_SSL_MODES)
            raise ValueError(f"sslmode in a PostgreSQL store's URL is one of: {modes}")
        own = {
            "pool_size": _taken(query, "pool_size", 10, 1000),
            "timeout_seconds": _taken(query, "timeout_seconds", 30, 86_400),
            "hnsw_from": _taken(query, "hnsw_from", 20_000, 10**12),
            "hnsw_memory_megabytes": _taken(query, "hnsw_memory_megabytes", 1024, 10**6),
            "upkeep_milliseconds": _taken(query, "upkeep_milliseconds", 10_000, 86_400_000),
        }
        dsn = urlunsplit(parts._replace(query=urlencode(query)))
        return cls(dsn, frozenset(query), **own)


def _check_ports(parts: SplitResult, query: dict[str, str]) -> None:
    # Several hosts, each with its port, are the driver's to read; the last stands for all.
    _ = parts._replace(netloc=parts.netloc.rpartition(",")[2]).port
    for port in query.get("port", "").split(","):
        if port:
            int(port)


def _taken(query: dict[str, str], name: str, default: int, high: int) -> int:
    text = query.pop(name, str(default))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= high):
        raise ValueError(f"{name} in a PostgreSQL store's URL is a whole number from 1 to {high}")
    return int(text)
