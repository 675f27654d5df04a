"""The wait before a connection is asked again: exponential backoff with full jitter."""

from collections.abc import Callable

from service_core.upstream.errors import UpstreamError

BACKOFF_SECONDS = 0.25
"""Ceiling of the first wait; each further one doubles it."""
MAX_BACKOFF_SECONDS = 8.0

Draw = Callable[[float, float], float]
"""Draws a number between two, as `random.uniform` does."""


def backoff(error: UpstreamError, retry: int, draw: Draw) -> float:
    """Seconds to wait before retry number `retry`, from 0; never before its Retry-After."""
    ceiling = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0**retry)
    pause = draw(0.0, ceiling)
    return pause if error.retry_after is None else max(pause, error.retry_after)
