"""Where a Milvus server is and who calls it, read from the store's URL."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

DEFAULT_PORT = 19530

_HELP = (
    "a Milvus store's URL is milvus://host:port, with user:password@ or token@ before the host, "
    "/database behind the port and ?tls=1 at the end where they are needed"
)
_TLS = {"": False, "0": False, "1": True}


@dataclass(frozen=True, slots=True)
class Address:
    """A server, one of its databases, and the credential."""

    uri: str
    """`http://host:port`, or `https://` for TLS, as pymilvus takes it."""
    database: str
    """"" for the server's default."""
    token: str = field(repr=False)
    """`user:password` or an API key; "" for none."""


def parse(url: str) -> Address:
    """The address in a `milvus://` URL; a ValueError, which never shows the URL, for a wrong one.

    User, password, token and database may be percent-encoded.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    except ValueError:
        raise ValueError(_HELP) from None
    tls = _TLS.get(options.pop("tls", ""))
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "milvus" or not host or tls is None or options or "/" in database:
        raise ValueError(_HELP)
    token = unquote(parts.username or "")
    if parts.password is not None:
        token += f":{unquote(parts.password)}"
    place = f"[{host}]" if ":" in host else host
    return Address(f"{'https' if tls else 'http'}://{place}:{port}", database, token)
