"""Every form in which a provider says how long to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service_core.upstream.retry_after import retry_after

_NOON = "Mon, 02 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Mon, 02 Nov 2026 12:00:30 GMT", "date": _NOON}, 30.0),
        ({"retry-after": "Mon, 02 Nov 2026 11:00:00 GMT", "date": _NOON}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Mon, 02 Nov 99999999999999999999 12:00:00 GMT"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_without_the_servers_clock_counts_from_ours() -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    wait = retry_after({"retry-after": format_datetime(until, usegmt=True)})
    assert wait is not None
    assert 3500 < wait <= 3600
