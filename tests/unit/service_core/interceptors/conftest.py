from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.service_core.interceptors.guarded import Probed, identity, probing


@pytest.fixture
async def probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Probed]:
    async with probing(tmp_path, identity(tmp_path), monkeypatch) as found:
        yield found
