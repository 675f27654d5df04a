"""The PostgreSQL store's URL: what it sets, what it refuses, and that it never shows a secret."""

import importlib.util
import traceback

import pytest

from query.store import open_store
from query.store.postgresql.address import Address

SECRET = "canary-5d1f"


def test_the_stores_settings_are_taken_from_the_url_and_the_rest_is_the_drivers() -> None:
    address = Address.parse(
        "postgresql://u@h/db?pool_size=3&timeout_seconds=4&hnsw_from=5&hnsw_memory_megabytes=6"
        "&upkeep_milliseconds=7&sslmode=require&lock_timeout=1s"
    )
    assert (address.pool_size, address.timeout_seconds) == (3, 4)
    assert (address.hnsw_from, address.hnsw_memory_megabytes) == (5, 6)
    assert address.upkeep_milliseconds == 7
    assert address.dsn == "postgresql://u@h/db?sslmode=require&lock_timeout=1s"
    assert address.named == {"sslmode", "lock_timeout"}


@pytest.mark.parametrize(
    "place",
    [
        "",
        "/db",
        "u@/db?host=%2Frun%2Fpostgresql",
        "h:1,h2:2/db",
        "[::1]:5/db",
        "/db?host=a,b&port=1,2",
    ],
)
def test_a_place_in_any_form_of_the_drivers_is_left_to_it(place: str) -> None:
    dsn = Address.parse(f"postgresql://{place}").dsn
    assert dsn.replace("%2C", ",").removeprefix("postgresql:").removeprefix("//") == place


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        (f"u:{SECRET}@h:port/db", "percent-encoded"),
        (f"u:{SECRET}#1@h/db", "percent-encoded"),
        (f"u:{SECRET}@h/db?no_value", "percent-encoded"),
        (f"u:{SECRET}@h/db?port=x", "percent-encoded"),
        (f"u:{SECRET}@[h/db", "percent-encoded"),
        (f"u:{SECRET}@h/db?sslmode={SECRET}", "verify-full"),
        (f"u:{SECRET}@h/db?pool_size={SECRET}", "pool_size .* from 1 to 1000"),
        (f"u:{SECRET}@h/db?pool_size=0", "pool_size"),
        (f"u:{SECRET}@h/db?timeout_seconds=-1", "timeout_seconds"),
        (f"u:{SECRET}@h/db?hnsw_from=1.5", "hnsw_from"),
        (f"u:{SECRET}@h/db?hnsw_from=²", "hnsw_from"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(place: str, problem: str) -> None:
    url = f"postgresql://{place}"
    with pytest.raises(ValueError, match=problem) as raised:
        open_store(url)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_no_form_of_the_store_shows_its_url() -> None:
    url = f"postgresql://user-{SECRET}:{SECRET}@host-{SECRET}/db-{SECRET}?sslpassword={SECRET}"
    store = open_store(url)
    address = Address.parse(url)
    assert SECRET not in f"{store!r} {store} {address!r} {address}"


def test_without_the_driver_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query.store.opening.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'cascada\[postgresql\]'"):
        open_store("postgresql://h/db")
    assert importlib.util.find_spec("asyncpg") is not None
