"""Where the lines of the audit go."""

import io
import json
import logging
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from config_core.errors import ConfigurationFileError
from service_core import audit
from service_core.audit.log import NAME
from service_core.logs import configure_logs

SECRET = "canary-of-the-operator"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give what goes to the log, and leave the logging of the test's own process as it was."""
    root, logger = logging.getLogger(), logging.getLogger(NAME)
    before = (root.handlers[:], root.level, logger.level)
    stream = io.StringIO()
    configure_logs("error", stream=stream, json=True, secrets=lambda: [SECRET])
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    logger.setLevel(before[2])
    structlog.reset_defaults()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(close: Callable[[], None]) -> None:
    """End the writing, and with it wait for all that was written."""
    close()


def test_nobody_keeps_lines_until_the_audit_is_opened(log: io.StringIO) -> None:
    assert not audit.is_enabled()
    close = audit.open_audit(None)
    assert audit.is_enabled()
    audit.write({"tenant": "acme"})
    assert json.loads(log.getvalue())["tenant"] == "acme"
    close()
    assert not audit.is_enabled()


def test_a_file_gets_the_lines_and_the_log_does_not(log: io.StringIO, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    close = audit.open_audit(path)
    for number in range(3):
        audit.write({"tenant": "acmé", "number": number})
    written(close)
    found = lines(path)
    assert [line["number"] for line in found] == [0, 1, 2]
    assert found[0]["tenant"] == "acmé"
    assert (found[0]["event"], found[0]["logger"], found[0]["level"]) == ("audit", NAME, "info")
    assert found[0]["timestamp"].endswith("Z")
    assert log.getvalue() == ""


def test_lines_are_added_to_a_file_and_others_cannot_read_it(
    log: io.StringIO, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"number": -1}\n')
    path.chmod(0o644)
    close = audit.open_audit(path)
    audit.write({"number": 0})
    written(close)
    assert [line["number"] for line in lines(path)] == [-1, 0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert log.getvalue() == ""


def test_a_file_that_was_moved_away_is_begun_anew(log: io.StringIO, tmp_path: Path) -> None:
    path, moved = tmp_path / "audit.log", tmp_path / "audit.log.1"
    close = audit.open_audit(path)
    audit.write({"number": 0})
    while not path.read_text():
        time.sleep(0.01)
    path.rename(moved)
    audit.write({"number": 1})
    written(close)
    assert [line["number"] for line in lines(moved)] == [0]
    assert [line["number"] for line in lines(path)] == [1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert log.getvalue() == ""


def test_a_file_that_cannot_be_opened_is_refused_by_the_variables_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError, match="CASCADA_AUDIT_FILE"):
        audit.open_audit(tmp_path / "no folder" / "audit.log")


def test_what_is_known_to_be_secret_or_shaped_like_it_is_taken_out(
    log: io.StringIO, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    close = audit.open_audit(path)
    audit.write({"model": f"m {SECRET}", "hops": [{"endpoint": "Bearer abcdefgh12345678"}]})
    written(close)
    text = path.read_text()
    assert SECRET not in text
    assert "abcdefgh12345678" not in text
    assert lines(path)[0]["model"] == "m [redacted]"
    assert log.getvalue() == ""


def test_a_line_that_cannot_be_written_is_told_in_the_log(log: io.StringIO, tmp_path: Path) -> None:
    path = tmp_path / "full"
    path.symlink_to("/dev/full")
    close = audit.open_audit(path)
    audit.write({"number": 0})
    written(close)
    assert "could not be written" in log.getvalue()


def test_the_audit_goes_on_after_its_folder_was_away(log: io.StringIO, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "audit.log"
    close = audit.open_audit(path)
    audit.write({"number": 0})
    while not path.read_text():
        time.sleep(0.01)
    folder.rename(tmp_path / "away")
    audit.write({"number": 1})
    while "could not be written" not in log.getvalue():
        time.sleep(0.01)
    folder.mkdir()
    audit.write({"number": 2})
    written(close)
    assert [line["number"] for line in lines(path)] == [2]
