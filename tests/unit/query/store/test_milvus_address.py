"""The URL of a Milvus store."""

import subprocess
import sys
from pathlib import Path

import pytest

from query.store import open_store, opening
from query.store.milvus.address import Address, parse

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("milvus://db.example:19531", Address("http://db.example:19531", "", "")),
        ("milvus://db.example", Address("http://db.example:19530", "", "")),
        ("milvus://db.example/", Address("http://db.example:19530", "", "")),
        ("milvus://[::1]:1953/a", Address("http://[::1]:1953", "a", "")),
        ("milvus://h/a%20b?tls=0", Address("http://h:19530", "a b", "")),
        ("milvus://root:pass@h:1/d?tls=1", Address("https://h:1", "d", "root:pass")),
        ("milvus://r%40t:p%3A%2F@h", Address("http://h:19530", "", "r@t:p:/")),
        ("milvus://api-key@h", Address("http://h:19530", "", "api-key")),
    ],
)
def test_an_address_is_read(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "milvus://",
        "milvus:///database",
        "milvus://:canary@",
        "milvus://canary@h:port",
        "milvus://canary@h:99999",
        "milvus://canary@h/a/b",
        "milvus://canary@h?tls=yes",
        "milvus://canary@h?tls",
        "milvus://canary@h?token=canary",
        "milvus://canary@[::1",
    ],
)
def test_a_wrong_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="milvus://host:port") as raised:
        open_store(url)
    assert "canary" not in str(raised.value)


def test_an_address_does_not_show_its_credential() -> None:
    assert "canary" not in repr(parse("milvus://user:canary@h"))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'cascada\[milvus\]'"):
        open_store("milvus://localhost")


def test_pymilvus_is_imported_only_when_a_milvus_store_is_opened() -> None:
    program = (
        "import sys; from query.store import open_store; open_store('sqlite:///a.db');"
        "assert 'query.store.milvus' not in sys.modules; open_store('milvus://localhost');"
        "assert 'pymilvus' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
