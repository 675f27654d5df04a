"""Sets up the log: readable on a terminal, JSON elsewhere, and without secrets in either."""

import logging
import sys
from typing import TextIO

import structlog

from service_core.log_lines import Scrubber, Secrets, Sink, add_ids, to_json

# Below WARNING these log prompts and keys.
_HELD_LOGGERS = (
    "grpc",
    "groq",
    "hpack",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "mistralai",
    "openai",
)

# A collector that is away is told of by ourselves, rarely; this one tells of every batch.
_SILENCED_LOGGERS = ("opentelemetry",)


def configure_logs(
    level: str = "INFO",
    *,
    stream: TextIO | None = None,
    json: bool | None = None,
    secrets: Secrets = tuple,
) -> None:
    """Directs structlog and the standard library's loggers to one stream; for entry points only.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`, in any case.
        stream: Where to write; standard error by default, so that output can be piped.
        json: JSON lines, or text for people; None decides by whether the stream is a terminal.
        secrets: Gives the values that are known to be secret at the moment; they are removed from
            every event and every exception's text.

    Raises:
        ValueError: There is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"There is no log level {level!r}: take DEBUG, INFO, WARNING or ERROR.")
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    render = to_json if as_json else structlog.dev.ConsoleRenderer(colors=out.isatty())
    said: list[structlog.typing.Processor] = [
        add_ids,
        # As text and without local variables, so that it can be scrubbed like any other value.
        structlog.processors.format_exc_info,
    ]
    named: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    scrubber = Scrubber(secrets)
    handler = logging.StreamHandler(out)
    handler.addFilter(_holds_back)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *said, *named, scrubber],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _HELD_LOGGERS:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _SILENCED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *said,
            # Before what is added by ourselves, which needs no looking through.
            scrubber,
            *named,
            Sink(handler, render),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _holds_back(record: logging.LogRecord) -> bool:
    """Whether to write a record. SDKs set their own loggers' levels from variables of their own."""
    return record.levelno >= logging.WARNING or record.name.split(".")[0] not in _HELD_LOGGERS
