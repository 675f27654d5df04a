"""Calls to providers as operators see them: their metrics, and a span each."""

import time

from prometheus_client import Counter, Histogram

from config_core.errors import Reason
from service_core.attempts import Attempt
from service_core.observer import Answer, Beginning, Watch
from service_core.record import current_record
from service_core.telemetry.gen_ai import OPERATIONS, PROVIDERS, options_of, server_of, usage_of
from service_core.telemetry.metrics import Metrics
from service_core.telemetry.spans import AttributeValue, Span, SpanKind, Spans, SpanStart

CANCELLED = "CANCELLED"
"""error.type of a call that was given up, because nobody waits for it any more."""


class CallObserver:
    """Watches one service's attempts."""

    def __init__(self, service: str, metrics: Metrics, spans: Spans | None = None) -> None:
        """Without `spans` calls are counted only."""
        self.service = service
        self.metrics = metrics
        self.spans = spans
        self._attempts: dict[tuple[str, ...], Counter] = {}
        self._measures: dict[tuple[str, ...], Histogram] = {}

    def begun(self, beginning: Beginning) -> Watch:
        """A call begins; it is a fallback where it stands in for another."""
        stands_in = beginning.stands_in
        if stands_in is not None:
            before = stands_in.instead_of
            self.metrics.fallbacks.labels(
                self.service,
                before.provider,
                before.endpoint,
                beginning.target.connection.provider,
                stands_in.reason.name,
            ).inc()
        return CallWatch(self, beginning)

    def skipped(self, attempt: Attempt) -> None:
        """An alternative was passed over."""
        self.count(attempt)

    def count(self, attempt: Attempt) -> None:
        """Count an attempt by how it ended."""
        key = (attempt.provider, attempt.endpoint, attempt.outcome, attempt.reason or "")
        counter = self._attempts.get(key)
        if counter is None:
            counter = self.metrics.attempts.labels(self.service, *key)
            self._attempts[key] = counter
        counter.inc()

    def measure(self, histogram: Histogram, labels: tuple[str, ...], value: float) -> None:
        """Note a value; looking its labels up costs more than that."""
        key = (histogram._name, *labels)  # noqa: SLF001 # there is no other way to its name
        child = self._measures.get(key)
        if child is None:
            child = self._measures[key] = histogram.labels(self.service, *labels)
        child.observe(value)


class CallWatch:
    """One call to a provider."""

    def __init__(self, observer: CallObserver, beginning: Beginning) -> None:
        self._observer = observer
        self._beginning = beginning
        self._began = time.monotonic()
        self._first_part: float | None = None
        self._span = None if observer.spans is None else self._start(observer.spans)

    def first_part(self) -> None:
        """The first part of a stream has come."""
        self._first_part = time.monotonic() - self._began

    def ended(self, attempt: Attempt | None, answer: Answer | None = None) -> None:
        """Count what it came to, and end its span."""
        if attempt is not None:
            self._observer.count(attempt)
            self._measure(attempt, answer)
        span = self._span
        if span is None:
            return
        if span.is_recording:
            self._describe(span, attempt, answer)
        span.end()

    def _measure(self, attempt: Attempt, answer: Answer | None) -> None:
        observer, metrics, beginning = self._observer, self._observer.metrics, self._beginning
        if answer is not None:
            metrics.models.answered(attempt.model)
        labels = (
            OPERATIONS[beginning.effective.kind],
            PROVIDERS[attempt.provider],
            attempt.endpoint,
            metrics.models.label(attempt.model),
        )
        error = "" if attempt.reason is None else attempt.reason.name
        observer.measure(metrics.call_duration, (*labels, error), attempt.duration)
        if self._first_part is not None:
            observer.measure(metrics.first_chunk, labels, self._first_part)
        if answer is not None:
            if answer.usage.input_tokens:
                observer.measure(metrics.tokens, (*labels, "input"), answer.usage.input_tokens)
            if answer.usage.output_tokens:
                observer.measure(metrics.tokens, (*labels, "output"), answer.usage.output_tokens)

    def _start(self, spans: Spans) -> Span:
        record = current_record()
        place = record.trace.place if record is not None and record.trace is not None else None
        beginning = self._beginning
        operation = OPERATIONS[beginning.effective.kind]
        start = SpanStart(operation, SpanKind.CLIENT, parent=place, subject=beginning.target.model)
        return spans.start(start)

    def _describe(self, span: Span, attempt: Attempt | None, answer: Answer | None) -> None:
        beginning = self._beginning
        effective, target = beginning.effective, beginning.target
        facts: dict[str, AttributeValue] = {
            "gen_ai.operation.name": OPERATIONS[effective.kind],
            "gen_ai.provider.name": PROVIDERS[target.connection.provider],
            "cascada.endpoint": target.connection.endpoint,
            "cascada.configuration.digest": effective.digest,
            "cascada.configuration.version": effective.snapshot_version,
            "cascada.attempt": beginning.number,
            **options_of(target),
            **server_of(target.connection.base_url),
        }
        texts = {"gen_ai.request.model": target.model}
        if beginning.streams:
            facts["gen_ai.request.stream"] = True
        if beginning.wait:
            facts["cascada.wait_seconds"] = beginning.wait
        if beginning.stands_in is not None:
            facts["cascada.fallback.reason"] = beginning.stands_in.reason.name
        if self._first_part is not None:
            facts["gen_ai.response.time_to_first_chunk"] = self._first_part
        if answer is not None:
            facts.update(usage_of(answer.usage))
            texts["gen_ai.response.model"] = answer.model
            # Those of embeddings have none.
            finished = getattr(answer, "finish_reason", None)
            if finished is not None:
                facts["gen_ai.response.finish_reasons"] = (str(finished),)
        if attempt is not None:
            texts["cascada.upstream.request_id"] = attempt.request_id
            if attempt.status:
                facts["http.response.status_code"] = attempt.status
        span.set(facts)
        span.set_outside(texts)
        failure = CANCELLED if attempt is None else _reason(attempt.reason)
        if failure:
            span.fail(failure)


def _reason(reason: Reason | None) -> str:
    return "" if reason is None else reason.name
