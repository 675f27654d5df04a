"""Far more than can be done: refusals, and nothing worse. How fast is for `bench overload`."""

from pathlib import Path

import pytest

from bench.mixed_load import mixed_load

CALLERS = 8
MUCH = 256 * 2**20
"""Bytes by which the services' memory may grow beyond that of a load they can take."""


@pytest.mark.full
async def test_under_overload_requests_are_refused_with_a_wait_and_nothing_else_goes_wrong(
    tmp_path: Path,
) -> None:
    async with mixed_load(tmp_path, {"CASCADA_LOG_LEVEL": "warning"}) as load:
        before = await load.in_turn(CALLERS, 8.0)
        assert not before.failed
        during = await load.at_rate(3 * before.answered / before.seconds, 20.0)
        assert not during.failed
        assert during.refused > 0
        assert all(during.latencies.values())
        assert during.most_resident - before.most_resident < MUCH
        after = await load.in_turn(1, 3.0)
        assert not after.failed
        assert not after.refused
        assert after.answered > 0
