import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from config_core.secrets import LocalSecrets
from config_core.snapshot import Snapshots
from config_core.sources import environment
from service_core.telemetry import Metrics
from service_core.telemetry.configuration import show_configuration


class Shown:
    """The gauges over a configuration file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "cascada.json"
        self.write({"defaults": {"temperature": 0.5}})
        self.snapshots = Snapshots(self.path, environment.read({}), LocalSecrets({}))
        self._metrics = Metrics()
        show_configuration(self._metrics.live, self.snapshots)

    def write(self, document: Mapping[str, object]) -> None:
        self.path.write_text(json.dumps(document))

    def value(self, name: str, **labels: str) -> float | None:
        return self._metrics.registry.get_sample_value(f"cascada_configuration_{name}", labels)


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


def test_the_version_in_force_is_shown_and_no_other(shown: Shown) -> None:
    before = shown.snapshots.current.version
    assert shown.value("info", version=before) == 1
    shown.write({"defaults": {"temperature": 0.75}})
    shown.snapshots.reload()
    assert shown.value("info", version=before) is None
    assert shown.value("info", version=shown.snapshots.current.version) == 1


def test_its_age_begins_anew_with_a_change_and_only_with_one(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = shown.snapshots.since + 100
    monkeypatch.setattr("time.monotonic", lambda: now)
    shown.snapshots.reload()
    assert shown.value("age_seconds") == 100
    shown.write({"defaults": {"temperature": 0.75}})
    shown.snapshots.reload()
    assert shown.value("age_seconds") == 0
    now += 7
    assert shown.value("age_seconds") == 7


def test_a_refused_file_is_shown_until_a_good_one_comes(shown: Shown) -> None:
    assert shown.value("refused") == 0
    shown.write({"unknown": 1})
    shown.snapshots.reload()
    assert shown.value("refused") == 1
    shown.write({})
    shown.snapshots.reload()
    assert shown.value("refused") == 0
