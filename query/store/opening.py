"""Choose the store's adapter by the scheme of its URL."""

from collections.abc import Callable

from query.store.port import Store
from query.store.sqlite import SqliteStore

_SCHEMES: dict[str, Callable[[str], Store]] = {"sqlite": SqliteStore.from_url}


def open_store(url: str) -> Store:
    """The store at `url`, to be entered with `async with` (or opened with `open`).

    `sqlite:///data/store.db` is relative to the working folder, `sqlite:////var/lib/store.db`
    absolute. An unknown scheme or a URL that its adapter cannot read is a ValueError.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(_SCHEMES))
        raise ValueError(f"the store's URL must begin with one of: {known}")
    return _SCHEMES[scheme](url)
