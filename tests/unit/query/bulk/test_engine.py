import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb

from config_core.errors import CascadaError, Reason, RemoteError
from query.bulk.engine import (
    LARGEST_BATCH,
    MAX_DEATHS,
    MAX_STARTS,
    BulkEngine,
    Event,
    Unreadable,
)
from query.bulk.job import BulkError, Report, WorkerDiedError
from service_core.status import to_status

INDEXED = document_pb2.DOCUMENT_OUTCOME_INDEXED
UNCHANGED = document_pb2.DOCUMENT_OUTCOME_UNCHANGED
FAILED = document_pb2.DOCUMENT_OUTCOME_FAILED


@dataclass(frozen=True)
class Source:
    document_id: str


@dataclass
class Cluster:
    """Workers over one store, which do what the test says."""

    size: int = 2
    stored: list[str] = field(default_factory=list)
    """Ids in the order in which they were stored, each time that one was."""
    seen: list[Sequence[str]] = field(default_factory=list)
    """The batches."""
    before: Callable[[str], None] = lambda _: None
    """Is called with each document before it is stored; may raise."""
    opens: Callable[[], str] = lambda: ""
    hold: asyncio.Event | None = None
    started: int = 0
    closed: int = 0
    killed: int = 0
    hops: int = 2

    def start_worker(self) -> "Worker":
        self.started += 1
        return Worker(self)


@dataclass
class Worker:
    cluster: Cluster

    async def open(self) -> str:
        await asyncio.sleep(0)
        return self.cluster.opens()

    async def index(self, sources: Sequence[Source]) -> Report:
        cluster = self.cluster
        cluster.seen.append([source.document_id for source in sources])
        results: list[bytes] = []
        unreadable: list[tuple[str, str]] = []
        summary = document_pb2.IndexSummary()
        for _ in range(cluster.hops):
            summary.configuration_trace.hops.add(service="query").duration.FromSeconds(99)
        for position, source in enumerate(sources):
            await asyncio.sleep(0)
            if cluster.hold is not None:
                await cluster.hold.wait()
            name = source.document_id
            try:
                cluster.before(name)
            except LookupError as error:
                unreadable.append((name, str(error)))
                continue
            except CascadaError as error:
                status = to_status(error).SerializeToString()
                return Report(tuple(results), b"", tuple(unreadable), status)
            outcome = UNCHANGED if name in cluster.stored else INDEXED
            if outcome == INDEXED:
                cluster.stored.append(name)
            result = document_pb2.DocumentResult(
                document_id=name, position=position, outcome=outcome, chunk_count=2
            )
            results.append(pb.IndexDocumentsResponse(result=result).SerializeToString())
            summary.indexed += outcome == INDEXED
            summary.unchanged += outcome == UNCHANGED
            summary.chunks += 2 * (outcome == INDEXED)
            summary.usage.input_tokens += 3
        return Report(tuple(results), summary.SerializeToString(), tuple(unreadable))

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.cluster.closed += 1

    def kill(self) -> None:
        self.cluster.killed += 1


def sources(count: int) -> list[Source]:
    return [Source(f"d{number:03}") for number in range(count)]


async def run(
    cluster: Cluster, count: int
) -> tuple[list[document_pb2.DocumentResult], document_pb2.IndexSummary]:
    """Index so many documents to the end."""
    events = [event async for event in BulkEngine(cluster, sources(count)).run()]
    responses = [event for event in events if isinstance(event, pb.IndexDocumentsResponse)]
    *results, last = responses
    assert last.HasField("summary")
    return [response.result for response in results], last.summary


def dies(*names: str, times: int = 1) -> Callable[[str], None]:
    """Workers die of these documents, each so many times."""
    left = Counter(dict.fromkeys(names, times))

    def before(name: str) -> None:
        if left[name]:
            left[name] -= 1
            raise WorkerDiedError

    return before


async def test_each_document_has_one_result_with_its_position_and_the_summary_adds_them_up() -> (
    None
):
    cluster = Cluster()
    results, summary = await run(cluster, 100)
    assert sorted((result.document_id, result.position) for result in results) == [
        (f"d{number:03}", number) for number in range(100)
    ]
    assert (summary.indexed, summary.failed, summary.chunks) == (100, 0, 200)
    assert summary.usage.input_tokens == 300


async def test_the_work_is_spread_over_all_workers_in_batches() -> None:
    cluster = Cluster(size=3)
    await run(cluster, 24)
    assert cluster.started == 3
    assert [len(batch) for batch in cluster.seen] == [2] * 12
    cluster = Cluster(size=2)
    await run(cluster, 1000)
    assert max(map(len, cluster.seen)) == LARGEST_BATCH


async def test_few_documents_need_few_workers() -> None:
    cluster = Cluster(size=8)
    await run(cluster, 3)
    assert cluster.started == 3


async def test_no_documents_end_in_an_empty_summary() -> None:
    cluster = Cluster()
    results, summary = await run(cluster, 0)
    assert (results, summary.indexed, cluster.started) == ([], 0, 0)


async def test_the_documents_of_a_dead_worker_are_each_stored_once_by_another() -> None:
    cluster = Cluster(before=dies("d005", "d017", "d030"))
    results, summary = await run(cluster, 40)
    assert sorted(cluster.stored) == [source.document_id for source in sources(40)]
    assert sorted(result.document_id for result in results) == sorted(cluster.stored)
    assert (summary.indexed + summary.unchanged, summary.failed) == (40, 0)
    assert cluster.started == 2 + 3


async def test_what_a_dead_worker_had_is_tried_one_by_one_after_everything_else() -> None:
    cluster = Cluster(size=1, before=dies("d003"))
    await run(cluster, 16)
    assert cluster.seen == [
        ["d000", "d001", "d002", "d003"],  # it dies of the last
        ["d004", "d005", "d006", "d007"],
        ["d008", "d009", "d010", "d011"],
        ["d012", "d013", "d014", "d015"],
        *(["d000"], ["d001"], ["d002"], ["d003"]),
    ]


async def test_a_document_of_which_every_worker_dies_fails_alone() -> None:
    cluster = Cluster(before=dies("d007", times=99))
    results, summary = await run(cluster, 40)
    failed = [result for result in results if result.outcome == FAILED]
    assert [result.document_id for result in failed] == ["d007"]
    assert f"{MAX_DEATHS} workers died over this document" in failed[0].detail
    assert len(cluster.stored) == 39
    assert (summary.indexed + summary.unchanged, summary.failed) == (39, 1)
    assert sum("d007" in batch for batch in cluster.seen) == MAX_DEATHS


async def test_a_document_that_could_not_be_read_is_told_apart() -> None:
    def unreadable(name: str) -> None:
        if name == "d003":
            raise LookupError("is a pipe")

    cluster = Cluster(before=unreadable)
    events = [event async for event in BulkEngine(cluster, sources(8)).run()]
    assert [event for event in events if isinstance(event, Unreadable)] == [
        Unreadable("d003", "is a pipe")
    ]
    assert len(cluster.stored) == 7


async def test_what_ends_the_stream_ends_all_workers_after_the_results_so_far() -> None:
    def refuse(name: str) -> None:
        if name == "d009":
            raise RemoteError(Reason.CREDENTIAL_MISSING, "Set a key.", metadata={"a": "b"})

    cluster = Cluster(size=1, before=refuse)
    seen: list[Event] = []

    async def read() -> None:
        async for event in BulkEngine(cluster, sources(100)).run():
            seen.append(event)  # noqa: PERF401 # what came before the error is wanted

    with pytest.raises(CascadaError) as caught:
        await read()
    assert caught.value.code_reason is Reason.CREDENTIAL_MISSING
    assert (caught.value.message, caught.value.metadata) == ("Set a key.", {"a": "b"})
    assert len(seen) == 9
    assert len(cluster.stored) < 99
    assert cluster.killed == cluster.started


async def test_workers_that_have_what_stands_in_the_way_say_it() -> None:
    cluster = Cluster(opens=lambda: "the store is on fire")
    with pytest.raises(BulkError, match="The workers can't index: the store is on fire"):
        await run(cluster, 10)
    assert cluster.killed == cluster.started


async def test_workers_that_die_at_once_are_given_up() -> None:
    def die() -> str:
        raise WorkerDiedError

    cluster = Cluster(size=1, opens=die)
    with pytest.raises(BulkError, match="can't start"):
        await run(cluster, 10)
    assert cluster.started == MAX_STARTS == cluster.killed


def opening(*fates: str) -> Callable[[], str]:
    """The first workers each begin, or die before; all others begin."""
    left = iter(fates)

    def opens() -> str:
        if next(left, "begins") == "dies":
            raise WorkerDiedError
        return ""

    return opens


async def test_a_worker_that_dies_before_it_has_begun_is_replaced() -> None:
    _, summary = await run(Cluster(opens=opening("dies", "begins", "dies")), 10)
    assert summary.indexed == 10


async def test_workers_of_a_cluster_are_given_up_when_none_has_begun_of_many() -> None:
    cluster = Cluster(size=2, opens=opening(*["dies"] * 99))
    with pytest.raises(BulkError, match="can't start"):
        await run(cluster, 10)
    assert 2 * MAX_STARTS <= cluster.started <= 2 * MAX_STARTS + 1
    assert cluster.killed == cluster.started


async def test_starts_that_fail_end_no_run_in_which_another_worker_gets_on() -> None:
    cluster = Cluster(size=2, opens=opening("begins", *["dies"] * 99))
    _, summary = await run(cluster, 8)
    assert summary.indexed == 8
    assert cluster.started > 1 + 2 * MAX_STARTS


async def test_starts_that_failed_do_not_count_once_a_worker_has_begun() -> None:
    almost = ["dies"] * (MAX_STARTS - 1)
    opens = opening(*almost, "begins", *almost, "begins")
    cluster = Cluster(size=1, opens=opens, before=dies("d000"))
    _, summary = await run(cluster, 10)
    assert summary.indexed == 10
    assert cluster.started == 2 * MAX_STARTS


async def test_workers_are_closed_at_the_end_and_one_that_dies_then_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    await run(cluster, 10)
    assert (cluster.closed, cluster.killed) == (2, 2)

    async def die(_: Worker) -> None:
        raise WorkerDiedError

    monkeypatch.setattr(Worker, "close", die)
    _, summary = await run(Cluster(), 10)
    assert summary.indexed == 10


async def test_a_reader_that_leaves_ends_the_workers() -> None:
    cluster = Cluster()
    async with aclosing(BulkEngine(cluster, sources(200)).run()) as events:
        await anext(events)
    stored = len(cluster.stored)
    assert cluster.killed == cluster.started == 2
    await asyncio.sleep(0.01)
    assert len(cluster.stored) == stored < 200


async def test_a_reader_that_takes_no_results_slows_the_workers_down() -> None:
    cluster = Cluster()
    async with aclosing(BulkEngine(cluster, sources(1000)).run()) as events:
        await anext(events)
        await asyncio.sleep(0.1)
        assert len(cluster.stored) < 200


async def test_the_trace_is_one_for_all_and_says_how_long_all_took() -> None:
    _, summary = await run(Cluster(), 40)
    first, *others = summary.configuration_trace.hops
    assert len(others) == 1
    assert first.duration.seconds < 99
