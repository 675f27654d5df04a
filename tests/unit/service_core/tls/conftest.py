from pathlib import Path

import pytest

from tests.unit.service_core.tls.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)
