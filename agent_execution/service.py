"""Execution: resolves the configuration of a request and has the query service answer it.

What is asked and answered passes through unread; `Payload`, `Reply` and `Event` are whatever the
servicer and the client of the query service agree on.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from config_core.effective import EffectiveConfiguration
from config_core.errors import CascadaError, Reason
from config_core.forward import Forwarded, forward
from config_core.resolve import error_of
from config_core.snapshot import Snapshot, Snapshots
from config_core.sources.collection import PinnedSpace
from config_core.sources.request import Incoming
from service_core.concurrency import gather_or_cancel
from service_core.deadline import Deadline
from service_core.record import note_effective
from service_core.request_context import RequestContext
from service_core.trace import HopReport

SERVICE = "agent-execution"

Payload = TypeVar("Payload")
PayloadT_contra = TypeVar("PayloadT_contra", contravariant=True)
Reply = TypeVar("Reply")
ReplyT_co = TypeVar("ReplyT_co", covariant=True)
Event = TypeVar("Event")
EventT_co = TypeVar("EventT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Execution(Generic[Payload]):
    """One request, already checked as far as this service reads it."""

    context: RequestContext
    incoming: Incoming
    collections: tuple[str, ...]
    """What is to be searched; empty without retrieval."""
    time_remaining: float | None
    """What the caller's deadline leaves, in seconds; `None` without one."""
    payload: Payload = field(repr=False)


@dataclass(frozen=True, slots=True)
class Handover:
    """What goes along with a payload to the query service."""

    context: RequestContext
    forwarded: Forwarded
    deadline: Deadline


class QueryPort(Protocol[PayloadT_contra, ReplyT_co, EventT_co]):
    """Whoever answers for agent execution. Every call raises CascadaError with the hops so far."""

    async def query(self, payload: PayloadT_contra, handover: Handover) -> ReplyT_co:
        """Answer in one piece."""
        ...

    def stream_query(
        self, payload: PayloadT_contra, handover: Handover
    ) -> AsyncGenerator[EventT_co, None]:
        """Answer piece by piece; closing the generator cancels the call."""
        ...

    async def pinned(
        self, collection: str, context: RequestContext, deadline: Deadline
    ) -> PinnedSpace:
        """The space that a collection is pinned to."""
        ...


@dataclass(frozen=True, slots=True)
class Run(Generic[Payload]):
    """One request on its way through."""

    payload: Payload = field(repr=False)
    effective: EffectiveConfiguration
    handover: Handover
    began: float

    def report(self) -> HopReport:
        """The report of this hop so far."""
        return HopReport(SERVICE, self.effective, time.monotonic() - self.began)


class ExecutionService(Generic[Payload, Reply, Event]):
    """Builds the configuration of a request; calls no provider itself."""

    def __init__(
        self,
        snapshots: Snapshots,
        queries: QueryPort[Payload, Reply, Event],
        *,
        attach_credentials: bool = False,
    ) -> None:
        self._snapshots = snapshots
        self._queries = queries
        self._attach_credentials = attach_credentials

    async def begin(self, execution: Execution[Payload]) -> Run[Payload]:
        """Resolve; raises CascadaError before anything is asked of the query service."""
        began = time.monotonic()
        snapshot = self._snapshots.current
        context = execution.context
        chat = snapshot.resolve("chat", context.tenant_id, execution.incoming)
        note_effective(chat.effective)
        effective, effectives, found = chat.effective, [chat.effective], list(chat.violations)
        if execution.collections:
            embedding = snapshot.resolve("embedding", context.tenant_id, execution.incoming)
            effectives.append(embedding.effective)
            found.extend(
                violation
                for violation in embedding.violations
                # The query service, which knows the spaces, judges what depends on them.
                if violation.reason is not Reason.CAPABILITY_UNSUPPORTED
                and violation not in (*embedding.of_space, *found)
            )
        if found:
            error = error_of(found)
            error.hops = (HopReport(SERVICE, effective, time.monotonic() - began),)
            raise error
        deadline = Deadline.from_context(execution.time_remaining, effective.timeout_seconds)
        forwarded = forward(effectives)
        if self._attach_credentials:
            try:
                searched = await self._searched(execution, snapshot, deadline)
            except CascadaError as error:
                report = HopReport(SERVICE, effective, time.monotonic() - began)
                error.hops = (report, *error.hops)
                raise
            called = forward([effective, *searched], attach_credentials=True)
            forwarded = replace(forwarded, connections=called.connections)
        handover = Handover(context, forwarded, deadline)
        return Run(execution.payload, effective, handover, began)

    async def execute(self, run: Run[Payload]) -> Reply:
        """Have it answered in one piece; raises CascadaError with the hops so far."""
        try:
            async with run.handover.deadline.timeout():
                return await self._queries.query(run.payload, run.handover)
        except CascadaError as error:
            error.hops = (run.report(), *error.hops)
            raise

    async def stream(self, run: Run[Payload]) -> AsyncGenerator[Event, None]:
        """Have it answered piece by piece; raises CascadaError with the hops so far."""
        try:
            events = self._queries.stream_query(run.payload, run.handover)
            async with aclosing(events):
                async for event in events:
                    yield event
        except CascadaError as error:
            error.hops = (run.report(), *error.hops)
            raise

    async def _searched(
        self, execution: Execution[Payload], snapshot: Snapshot, deadline: Deadline
    ) -> list[EffectiveConfiguration]:
        """What embeds for the collections: their own spaces outrank this service's layers."""
        context = execution.context
        spaces = await gather_or_cancel(
            self._queries.pinned(name, context, deadline) for name in execution.collections
        )
        resolutions = [
            snapshot.resolve("embedding", context.tenant_id, execution.incoming, space)
            for space in dict.fromkeys(spaces)
        ]
        # What policy refuses gets no key: the query service refuses it too, if it is called at all.
        return [
            resolution.effective
            for resolution in resolutions
            if all(found.reason is not Reason.POLICY_VIOLATION for found in resolution.violations)
        ]
