"""Where the lines of the audit go: to the log, or to a file of their own that others can't read.

A line passes what every line of the log passes, and so holds no secret. The file is written in a
thread; where it was moved away, another is begun.
"""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import structlog

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError

NAME = "cascada.audit"
MODE = 0o600

_audit = structlog.stdlib.get_logger(NAME)
_log = structlog.stdlib.get_logger(__name__)


def is_enabled() -> bool:
    """Whether anybody keeps the lines."""
    return logging.getLogger(NAME).isEnabledFor(logging.INFO)


def write(facts: Mapping[str, Any]) -> None:
    """Write one line."""
    _audit.info("audit", **facts)


def open_audit(path: Path | None) -> Callable[[], None]:
    """Have the lines kept, whatever the log's level; gives what ends that.

    Args:
        path: A file to append to; None leaves the lines to the log.

    Raises:
        ConfigurationFileError: The file can't be opened.
    """
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    if path is None:
        return lambda: logger.setLevel(logging.NOTSET)
    try:
        file = _PrivateFile(path, encoding="utf-8")
    except OSError as error:
        problem = ("CASCADA_AUDIT_FILE", f"can't be opened: {error.strerror}")
        raise ConfigurationFileError(PLACE, [problem]) from None
    queue = QueueHandler(SimpleQueue())
    queue.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ]
        )
    )
    listener = QueueListener(queue.queue, file)
    listener.start()
    logger.handlers[:] = [queue]
    logger.propagate = False

    def close() -> None:
        logger.setLevel(logging.NOTSET)
        logger.handlers[:] = []
        logger.propagate = True
        listener.stop()
        with suppress(OSError):  # what could not be written has been told
            file.close()

    return close


class _PrivateFile(WatchedFileHandler):
    """Appends to a file of this user's alone."""

    def _open(self) -> TextIOWrapper:
        number = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        os.fchmod(number, MODE)
        return os.fdopen(number, "a", encoding=self.encoding)

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line. What hinders that must not end the thread, which all later lines need."""
        try:
            super().emit(record)
        except (OSError, ValueError):
            self.handleError(record)
            if self.stream is not None and self.stream.closed:
                self.stream = None  # the next line opens another

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 # logging's own
        """Say in the log that a line is lost."""
        _log.error("a line of the audit could not be written", file=self.baseFilename)
