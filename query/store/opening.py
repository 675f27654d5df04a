"""Choose the store's adapter by the scheme of its URL."""

from collections.abc import Callable
from importlib.util import find_spec

from query.store.port import Store
from query.store.sqlite import SqliteStore


def _milvus(url: str) -> Store:
    if find_spec("pymilvus") is None:
        raise ValueError("a milvus:// store needs pymilvus: pip install 'cascada[milvus]'")
    from query.store.milvus import MilvusStore  # noqa: PLC0415 - only where it is chosen

    return MilvusStore.from_url(url)


def _postgresql(url: str) -> Store:
    if find_spec("asyncpg") is None:
        raise ValueError("a postgresql:// store needs asyncpg: pip install 'cascada[postgresql]'")
    from query.store.postgresql import PostgresqlStore  # noqa: PLC0415 - only where it is chosen

    return PostgresqlStore.from_url(url)


_SCHEMES: dict[str, Callable[[str], Store]] = {
    "milvus": _milvus,
    "postgresql": _postgresql,
    "sqlite": SqliteStore.from_url,
}


def open_store(url: str) -> Store:
    """The store at `url`, to be entered with `async with` (or opened with `open`).

    `sqlite:///data/store.db` is relative to the working folder, `sqlite:////var/lib/store.db`
    absolute; `postgresql://user:password@host:port/database` and `milvus://host:port/database` are
    servers. An unknown scheme, a URL that its adapter cannot read, and a package that is not
    installed are ValueErrors.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(_SCHEMES))
        raise ValueError(f"the store's URL must begin with one of: {known}")
    return _SCHEMES[scheme](url)
