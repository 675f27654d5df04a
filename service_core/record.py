"""What a request has come to so far, where the layers around its handler find it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from config_core.effective import EffectiveConfiguration


@dataclass(slots=True)
class Record:
    """One request: noted by whoever resolves it, and by whoever puts its trace on the wire."""

    effective: EffectiveConfiguration | None = None
    """What was resolved last."""
    hops: Sequence[object] = ()
    """The reports of its hops, once the answer has them."""


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
