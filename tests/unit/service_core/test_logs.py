import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from cascada.config.v1 import model_configuration_pb2

from service_core.log_lines import own_texts
from service_core.logs import configure_logs
from service_core.record import note_context, recording

CANARY = "canary-5d0e-secret"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(level: str = "DEBUG", *, json: bool = True) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(level, stream=stream, json=json, secrets=lambda: [CANARY])
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail() -> None:
    hidden = CANARY
    raise ValueError(f"refused {hidden}")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_known_secret_is_nowhere_in_the_output(*, as_json: bool) -> None:
    stream = configured(json=as_json)
    log = structlog.stdlib.get_logger("test")
    message = model_configuration_pb2.ModelConfiguration(chat_api_key="marked", chat_model=CANARY)
    event = f"event {CANARY}"
    log.info(event, text=CANARY, nested={"a": [CANARY]}, error=ValueError(CANARY))
    log.info("message", request=message, headers={f"x-{CANARY}": "1"}, repeated=(CANARY,))
    try:
        fail()
    except ValueError as error:
        log.exception("failed")
        log.warning("failed", exc_info=error)
        logging.getLogger("other").exception("failed with %s", CANARY)
    logging.getLogger("other").info("plain %s", CANARY, extra={"extra": CANARY})
    assert "Traceback" in stream.getvalue()
    assert "plain" in stream.getvalue()
    assert CANARY not in stream.getvalue()
    assert "marked" not in stream.getvalue()


def test_a_secret_that_comes_later_is_known_at_once() -> None:
    secrets: list[str] = []
    stream = io.StringIO()
    configure_logs("INFO", stream=stream, json=True, secrets=lambda: secrets)
    secrets.append(CANARY)
    structlog.stdlib.get_logger("test").info("event", text=CANARY)
    assert CANARY not in stream.getvalue()


def test_json_lines_say_when_who_and_how_bad() -> None:
    stream = configured()
    structlog.stdlib.get_logger("service_core.test").warning("event", number=1)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "event",
        "level": "warning",
        "logger": "service_core.test",
        "number": 1,
    }


@pytest.mark.parametrize("name", ["grpc", "httpx", "httpx2", "openai._base_client", "groq"])
def test_loggers_that_print_prompts_are_held_even_if_their_sdk_opens_them(name: str) -> None:
    stream = configured("DEBUG")
    logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger(name).info("a prompt")
    logging.getLogger(name).warning("a warning")
    logging.getLogger(name).setLevel(logging.NOTSET)
    assert [line["event"] for line in lines(stream)] == ["a warning"]


def test_the_level_holds_for_both_kinds_of_loggers() -> None:
    stream = configured("warning")
    structlog.stdlib.get_logger("test").info("no")
    logging.getLogger("test").info("no")
    assert stream.getvalue() == ""


def test_a_level_that_does_not_exist_is_an_error_that_names_the_levels() -> None:
    with pytest.raises(ValueError, match="take DEBUG, INFO"):
        configure_logs("loud")


def test_a_request_puts_its_ids_on_every_line_that_is_written_for_it() -> None:
    stream = configured()
    with recording():
        note_context("acme", "t-1")
        structlog.stdlib.get_logger("test").info("ours")
        logging.getLogger("other").info("theirs")
        structlog.stdlib.get_logger("test").info("its own", trace_id="t-2")
    structlog.stdlib.get_logger("test").info("after")
    ids = [(line.get("tenant"), line.get("trace_id")) for line in lines(stream)]
    assert ids == [("acme", "t-1"), ("acme", "t-1"), (None, "t-2"), (None, None)]


@pytest.mark.parametrize(
    "value", [CANARY, f"x{CANARY}", [CANARY], {"a": {"b": (CANARY,)}}, {CANARY: 1}, Path(CANARY)]
)
def test_a_secret_is_found_wherever_it_stands_among_words_of_our_own(value: object) -> None:
    stream = configured()
    own_texts("query")
    structlog.stdlib.get_logger("test").info("request", service="query", code="OK", found=value)
    assert CANARY not in stream.getvalue()
    assert lines(stream)[0]["service"] == "query"


def test_a_line_without_secrets_is_written_as_it_was_given() -> None:
    stream = configured()
    given = {"a": "ä\n\"'", "b": [1, 2.5, None, True], "c": {"d": ""}, "n": 2**70, "s": "\ud800"}
    structlog.stdlib.get_logger("test").info("event", **given)
    (line,) = lines(stream)
    assert {name: line[name] for name in given} == given


def test_whoever_listens_beside_our_handler_hears_of_our_events() -> None:
    stream = configured()
    heard: list[logging.LogRecord] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    other = Other()
    logger = logging.getLogger("test.listened")
    logger.addHandler(other)
    try:
        structlog.stdlib.get_logger("test.listened").info("event", text=CANARY)
    finally:
        logger.removeHandler(other)
    assert len(heard) == 1
    assert CANARY not in repr(heard[0].msg)
    assert [line["event"] for line in lines(stream)] == ["event"]


def test_a_stream_that_is_gone_fails_nobody() -> None:
    stream = configured()
    stream.close()
    structlog.stdlib.get_logger("test").info("event")


def test_a_terminal_gets_text_for_people() -> None:
    stream = configured(json=False)
    structlog.stdlib.get_logger("test").info("event", number=1)
    assert "number=1" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
