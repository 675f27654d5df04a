"""Sets up the log: readable on a terminal, JSON elsewhere, and without secrets in either."""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from google.protobuf.message import Message

from service_core.redaction import redact, scrub

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

Secrets = Callable[[], Iterable[str]]


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
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # As text and without local variables, so that it can be scrubbed like any other value.
        structlog.processors.format_exc_info,
        _Scrubber(secrets),
    ]
    handler = logging.StreamHandler(out)
    handler.addFilter(_holds_back)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False)
                if as_json
                else structlog.dev.ConsoleRenderer(colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _HELD_LOGGERS:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _holds_back(record: logging.LogRecord) -> bool:
    """Whether to write a record. SDKs set their own loggers' levels from variables of their own."""
    return record.levelno >= logging.WARNING or record.name.split(".")[0] not in _HELD_LOGGERS


class _Scrubber:
    """Removes secrets from everything in an event."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        known = tuple(self._secrets())
        # Names with an underscore are structlog's own, for the formatter.
        return {
            key: value if key.startswith("_") else _clean(value, known)
            for key, value in event.items()
        }


def _clean(value: Any, secrets: tuple[str, ...]) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return scrub(value, secrets)
    if isinstance(value, Message):
        return _clean(redact(value), secrets)
    if isinstance(value, Mapping):
        return {scrub(str(key), secrets): _clean(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, secrets) for item in value]
    return scrub(str(value), secrets)
