"""What a request has come to so far, where the layers around its handler find it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from config_core.effective import EffectiveConfiguration
from service_core.telemetry.request_trace import RequestTrace, new_trace_id


@dataclass(slots=True)
class Record:
    """One request: noted by whoever reads or resolves it, or puts its trace on the wire."""

    effective: EffectiveConfiguration | None = None
    """What was resolved last."""
    hops: Sequence[object] = ()
    """The reports of its hops, once the answer has them."""
    tenant: str = ""
    """Whom it is for, once its context was read."""
    trace_id: str = ""
    """The id in its context, filled in where there was none."""
    trace: RequestTrace | None = None
    """Its place in a trace of W3C's; None where nobody looks after traces."""


_current: ContextVar[Record | None] = ContextVar("record", default=None)


@contextmanager
def recording() -> Iterator[Record]:
    """The record of the request that runs in the block; one that is there already is kept."""
    record = _current.get()
    if record is not None:
        yield record
        return
    record = Record()
    token = _current.set(record)
    try:
        yield record
    finally:
        _current.reset(token)


def current_record() -> Record | None:
    """The record of the request that runs."""
    return _current.get()


def note_context(tenant: str, given: str) -> str:
    """Note whom a request is for and the trace id that it names; gives the one that it has."""
    record = _current.get()
    if record is None:
        return given or new_trace_id()
    record.tenant = tenant
    trace = record.trace
    record.trace_id = given or new_trace_id() if trace is None else trace.begin(given)
    return record.trace_id


def note_effective(effective: EffectiveConfiguration) -> None:
    """Note what was resolved."""
    record = _current.get()
    if record is not None:
        record.effective = effective


def note_hops(hops: Sequence[object]) -> None:
    """Note the reports that go to the caller."""
    record = _current.get()
    if record is not None:
        record.hops = hops
