"""One attempt while it runs."""

import time
from collections.abc import Callable
from typing import Self

from config_core.effective import Target
from service_core.attempts import Attempt
from service_core.circuit import Passage
from service_core.observer import Answer, Watch
from service_core.upstream.errors import UpstreamError


class Trial:
    """One attempt while it runs: it is on record once its `with` block has ended."""

    def __init__(
        self,
        record: Callable[[Attempt], None],
        target: Target,
        passage: Passage,
        wait: float,
        watch: Watch,
    ) -> None:
        self.target = target
        self.watch = watch
        self.error: UpstreamError | None = None
        self._record = record
        self._passage = passage
        self._wait = wait
        self._began = time.monotonic()
        self._open = True

    def succeeded(self, answer: Answer) -> None:
        """The answer is whole."""
        self._open = False
        self._passage.leave(None)
        attempt = Attempt.succeeded(
            self.target, wait=self._wait, duration=self._duration(), request_id=answer.request_id
        )
        self._record(attempt)
        self.watch.ended(attempt, answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not self._open:
            return False
        if not isinstance(error, UpstreamError):
            self.watch.ended(None)
            return False
        self.error = error
        attempt = Attempt.failed(self.target, error, wait=self._wait, duration=self._duration())
        self._record(attempt)
        self.watch.ended(attempt)
        return True

    def _duration(self) -> float:
        return time.monotonic() - self._began
