import pytest

from service_core.telemetry.w3c import TraceContext, is_trace_id, read_trace_context

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_parent_is_read() -> None:
    found = read_trace_context((("user-agent", "x"), ("traceparent", PARENT)))
    assert found == TraceContext(TRACE, SPAN, 1)
    assert found.is_sampled


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        PARENT.upper(),
        f" {PARENT}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"01-{TRACE}-{SPAN}-01more",
    ],
)
def test_an_invalid_parent_is_as_none(parent: str) -> None:
    assert read_trace_context((("traceparent", parent), ("tracestate", "a=1"))) is None


def test_two_parents_are_as_none() -> None:
    assert read_trace_context((("traceparent", PARENT), ("traceparent", PARENT))) is None


def test_no_metadata_is_no_context() -> None:
    assert read_trace_context(None) is None


def test_a_parent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    found = read_trace_context((("traceparent", f"cc-{TRACE}-{SPAN}-ff-what-comes-later"),))
    assert found is not None
    assert found.to_metadata() == (("traceparent", f"00-{TRACE}-{SPAN}-03"),)


def test_what_was_read_is_written_as_it_came() -> None:
    metadata = (("traceparent", PARENT), ("tracestate", "shop=t61,other=00f0"))
    found = read_trace_context(metadata)
    assert found is not None
    assert found.to_metadata() == metadata


def test_a_state_in_parts_is_one() -> None:
    found = read_trace_context(
        (("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"))
    )
    assert found is not None
    assert found.state == "a=1,b=2"


@pytest.mark.parametrize(
    "state",
    ["nonsense", "a=1,b", "a=ä", "a=" + "x" * 600, ",".join(f"k{n}=1" for n in range(33))],
)
def test_an_invalid_state_is_dropped_and_the_parent_stays(state: str) -> None:
    found = read_trace_context((("traceparent", PARENT), ("tracestate", state)))
    assert found == TraceContext(TRACE, SPAN, 1)


@pytest.mark.parametrize("text", ["", "order-17", TRACE.upper(), TRACE[1:], "0" * 32, f"{TRACE}\n"])
def test_other_texts_are_no_trace_ids(text: str) -> None:
    assert not is_trace_id(text)


def test_32_digits_are_a_trace_id() -> None:
    assert is_trace_id(TRACE)
