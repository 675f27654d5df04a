"""What every system test uses: an upstream server in the test's own loop."""

from tests.upstream.fixtures import upstream

__all__ = ["upstream"]
