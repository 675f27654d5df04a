"""How a request's trace id, W3C's context and the ids in the log are one."""

import pytest

from service_core.hop import MARK, hop_metadata
from service_core.log_lines import ids_of_record
from service_core.record import note_context, recording
from service_core.telemetry.request_trace import RequestTrace
from service_core.telemetry.w3c import TraceContext, is_trace_id
from tests.unit.service_core.telemetry.fake_spans import FakeSpans

TRACE = "0af7651916cd43dd8448eb211c80319c"
INCOMING = TraceContext(TRACE, "b7ad6b7169203331", 1, "shop=t61")
OTHER = "00000000000000000000000000000abc"

ON = [True, False]


def trace(incoming: TraceContext | None, *, on: bool) -> RequestTrace:
    return RequestTrace("/a.B/C", incoming, FakeSpans() if on else None)


@pytest.mark.parametrize("on", ON)
def test_without_an_id_the_request_takes_that_of_the_trace_that_came(*, on: bool) -> None:
    assert trace(INCOMING, on=on).begin("") == TRACE


def test_without_anything_the_request_takes_that_of_the_trace_that_begins() -> None:
    found = trace(None, on=True)
    assert found.begin("") == found.trace_id == f"{1:032x}"


def test_without_anything_and_without_spans_it_gets_one_of_its_own() -> None:
    first, second = (trace(None, on=False).begin("") for _ in range(2))
    assert is_trace_id(first)
    assert first != second


def test_an_id_of_w3cs_form_becomes_the_traces_own() -> None:
    found = trace(None, on=True)
    assert found.begin(OTHER) == found.trace_id == OTHER


@pytest.mark.parametrize("given", ["order-17", OTHER])
@pytest.mark.parametrize("on", ON)
def test_an_id_stays_the_callers_beside_the_trace_that_came(given: str, *, on: bool) -> None:
    found = trace(INCOMING, on=on)
    assert found.begin(given) == given
    assert found.trace_id == TRACE


def test_an_id_of_another_form_stays_the_callers_beside_the_trace_that_begins() -> None:
    found = trace(None, on=True)
    assert found.begin("order-17") == "order-17"
    assert is_trace_id(found.trace_id)


def test_the_span_begins_once() -> None:
    spans = FakeSpans()
    found = RequestTrace("/a.B/C", INCOMING, spans)
    found.begin("")
    found.begin("")
    (span,) = spans.made
    assert (span.start.name, span.start.parent) == ("a.B/C", INCOMING)


def test_the_next_hop_is_told_the_span_of_this_one() -> None:
    with recording() as record:
        record.trace = trace(INCOMING, on=True)
        note_context("acme", "")
        sent = dict(hop_metadata())
    assert sent["traceparent"] == f"00-{TRACE}-{1:016x}-01"
    assert sent[MARK[0][0]] == MARK[0][1]


def test_without_spans_the_next_hop_is_told_what_came() -> None:
    with recording() as record:
        record.trace = trace(INCOMING, on=False)
        note_context("acme", "order-17")
        assert hop_metadata() == (*MARK, *INCOMING.to_metadata())


def test_without_a_trace_the_next_hop_is_told_of_none() -> None:
    assert hop_metadata() == MARK
    with recording() as record:
        record.trace = trace(None, on=False)
        note_context("acme", "order-17")
        assert hop_metadata() == MARK


@pytest.mark.parametrize(
    ("incoming", "given", "on", "expected"),
    [
        (INCOMING, "", True, {"trace_id": TRACE, "span_id": f"{1:016x}"}),
        (INCOMING, "", False, {"trace_id": TRACE}),
        (INCOMING, "order-17", False, {"trace_id": TRACE, "cascada.trace_id": "order-17"}),
        (None, "order-17", False, {"trace_id": "order-17"}),
        (
            None,
            "order-17",
            True,
            {"trace_id": f"{1:032x}", "span_id": f"{1:016x}", "cascada.trace_id": "order-17"},
        ),
        (None, OTHER, True, {"trace_id": OTHER, "span_id": f"{1:016x}"}),
    ],
)
def test_the_log_has_the_ids_of_the_trace_and_that_of_the_caller(
    incoming: TraceContext | None, given: str, expected: dict[str, str], *, on: bool
) -> None:
    with recording() as record:
        record.trace = trace(incoming, on=on)
        note_context("acme", given)
        assert ids_of_record(record) == {"tenant": "acme", **expected}
