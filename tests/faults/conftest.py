"""What the tests of this folder share: an upstream, services in front of it, and their figures."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.faults.services import Services, endpoints, serve
from tests.upstream.fixtures import upstream
from tests.upstream.server import UpstreamServer

__all__ = ["figures", "pytest_terminal_summary", "services", "upstream"]

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Take a line of what was measured, to be shown at the end of the run."""
    return pytestconfig.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the figures: `make test-full` keeps them with its results."""
    lines = config.stash.get(_FIGURES, [])
    if lines:
        terminalreporter.section("figures of the provider side")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture
async def services(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: UpstreamServer
) -> AsyncIterator[Services]:
    """Serve all three; the names in the test module's `ENDPOINTS` are registered."""
    names = getattr(request.module, "ENDPOINTS", {})
    addresses = {name: (provider, upstream.url(provider)) for name, provider in names.items()}
    async with serve(tmp_path, upstream, endpoints(addresses)) as serving:
        yield serving
