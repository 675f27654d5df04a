"""One attempt while it runs."""

import time
from collections.abc import Callable
from typing import Self

from config_core.effective import Target
from service_core.attempts import Attempt
from service_core.circuit import Passage
from service_core.upstream.errors import UpstreamError


class Trial:
    """One attempt while it runs: it is on record once its `with` block has ended."""

    def __init__(
        self,
        record: Callable[[Attempt], None],
        target: Target,
        passage: Passage,
        wait: float,
    ) -> None:
        self.target = target
        self.error: UpstreamError | None = None
        self._record = record
        self._passage = passage
        self._wait = wait
        self._began = time.monotonic()
        self._open = True

    def succeeded(self, request_id: str) -> None:
        """The answer is whole."""
        self._open = False
        self._passage.leave(None)
        self._record(
            Attempt.succeeded(
                self.target, wait=self._wait, duration=self._duration(), request_id=request_id
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not self._open or not isinstance(error, UpstreamError):
            return False
        self.error = error
        self._record(Attempt.failed(self.target, error, wait=self._wait, duration=self._duration()))
        return True

    def _duration(self) -> float:
        return time.monotonic() - self._began
