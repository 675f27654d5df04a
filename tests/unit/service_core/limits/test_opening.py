"""Which counts the settings name."""

import sys

import pytest

from config_core.errors import ConfigurationFileError
from config_core.settings import Settings
from service_core.limits import MemoryLimits, open_limits
from service_core.limits.availability import GuardedLimits

URL = "rediss://:canary-password@limits.example:6380/1"


def test_counts_are_in_memory_unless_a_server_is_named() -> None:
    assert isinstance(open_limits(Settings.read({})), MemoryLimits)


@pytest.mark.parametrize("url", [URL, "redis://127.0.0.1:9", "unix:///run/valkey.sock"])
async def test_a_server_may_be_named_in_three_ways(url: str) -> None:
    settings = Settings.read({"CASCADA_LIMITS_URL": url})
    assert "canary" not in repr(settings)
    store = open_limits(settings)
    assert isinstance(store, GuardedLimits)
    await store.aclose()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CASCADA_LIMITS_URL", "https://canary"), ("CASCADA_LIMITS_ON_FAILURE", "canary")],
)
def test_what_is_wrong_is_named_without_its_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationFileError, match=variable) as refused:
        Settings.read({variable: value})
    assert "canary" not in str(refused.value)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service_core.limits.shared", None)
    with pytest.raises(ConfigurationFileError, match=r"cascada\[redis\]"):
        open_limits(Settings.read({"CASCADA_LIMITS_URL": URL}))
