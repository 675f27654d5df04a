import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from config_core.errors import OverloadedError, Reason
from query.errors import UnusableDocumentError
from query.extraction import reader_process
from query.extraction.extractor import Extractor
from query.extraction.model import MediaType
from query.extraction.protocol import answer_line, job_line, read_answer_line, read_job_line
from tests.unit.query.pdf_files import pdf

PAGE = b"<title>T</title><h1>A</h1><p>b"


@pytest.fixture
async def extractor() -> AsyncIterator[Extractor]:
    extractor = Extractor(processes=1)
    yield extractor
    await extractor.aclose()


class StandIn:
    """A program in the worker's place."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stand_in.py"
        self._started = folder / "started"

    def does(self, *lines: str, ready: bool = True) -> None:
        """Let it say that it is ready, wait for a file, note its id, and then do this."""
        begin = [
            "import json, os, signal, sys, time",
            "def say(what): sys.stdout.buffer.write(what); sys.stdout.flush()",
        ]
        begin += [
            "say(b'ready\\n')",
            "sys.stdin.buffer.readline()",
            f"open('{self._started}_', 'w').write(str(os.getpid()))",
            f"os.rename('{self._started}_', '{self._started}')",
        ] * ready
        self._file.write_text("\n".join([*begin, *lines, "time.sleep(600)"]), encoding="utf-8")

    @property
    def process(self) -> int | None:
        """Its id, once it has begun with a file."""
        return int(self._started.read_text()) if self._started.exists() else None


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setattr(reader_process, "_MODULE", "stand_in")
    monkeypatch.syspath_prepend(str(tmp_path))
    return StandIn(tmp_path)


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def limits_of(process: int) -> dict[str, str]:
    """The limits of a process by name."""
    lines = Path(f"/proc/{process}/limits").read_text(encoding="ascii").splitlines()
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


def seconds_of(process: int) -> float:
    """How long a process has been on a processor."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


def processes_of(extractor: Extractor) -> list[int]:
    """The ids of the processes that wait for work."""
    return [process._process.pid for process in extractor._idle]


@contextmanager
def unusable(words: str) -> Iterator[None]:
    with pytest.raises(UnusableDocumentError, match=words) as caught:
        yield
    assert caught.value.code_reason is Reason.INVALID_ARGUMENT


async def test_each_kind_of_file_is_read(extractor: Extractor) -> None:
    html = await extractor.extract(MediaType.HTML, PAGE)
    assert (html.title, html.text, html.markdown) == ("T", "# A\n\nb", True)
    paper = await extractor.extract(MediaType.PDF, pdf(["uno"], ["dos"], title="P"))
    assert (paper.title, paper.text, paper.pages) == ("P", "uno\n\ndos", (0, 5))
    assert not paper.markdown
    assert (await extractor.extract(MediaType.MARKDOWN, b"# x")).markdown
    assert (await extractor.extract(MediaType.PLAIN, b"# x")).text == "# x"


async def test_no_process_starts_for_a_text_and_one_for_many_pages(extractor: Extractor) -> None:
    await extractor.extract(MediaType.PLAIN, b"x")
    assert processes_of(extractor) == []
    await extractor.extract(MediaType.HTML, PAGE)
    first = processes_of(extractor)
    await extractor.extract(MediaType.PDF, pdf(["x"]))
    assert processes_of(extractor) == first != []


async def test_a_file_that_can_not_be_read_leaves_the_process(extractor: Extractor) -> None:
    await extractor.extract(MediaType.HTML, PAGE)
    first = processes_of(extractor)
    with unusable("can't be indexed: it is no PDF"):
        await extractor.extract(MediaType.PDF, b"no PDF")
    assert processes_of(extractor) == first


async def test_files_side_by_side_are_read_by_as_many_processes_as_there_are() -> None:
    extractor = Extractor(processes=2)
    pages = [b"<p>%d" % number for number in range(8)]
    found = await asyncio.gather(*(extractor.extract(MediaType.HTML, page) for page in pages))
    assert [each.text for each in found] == [str(number) for number in range(8)]
    assert len(set(processes_of(extractor))) == 2
    await extractor.aclose()


async def test_a_large_file_passes_whole(extractor: Extractor) -> None:
    page = b"<p>a</p><!--" + b"x" * 30_000_000 + b"--><p>b</p>"
    assert (await extractor.extract(MediaType.HTML, page)).text == "a\n\nb"


async def test_a_process_that_needed_much_memory_is_not_kept(extractor: Extractor) -> None:
    await extractor.extract(MediaType.HTML, b"<i></i>" * 1_000_000 + b"x")
    assert processes_of(extractor) == []
    assert (await extractor.extract(MediaType.HTML, PAGE)).title == "T"


async def test_a_file_that_takes_too_much_memory_says_so(extractor: Extractor) -> None:
    with unusable("split it"):
        await extractor.extract(MediaType.HTML, b"<i></i>" * 4_700_000 + b"x")
    assert (await extractor.extract(MediaType.HTML, PAGE)).title == "T"


async def test_a_process_that_died_idle_is_replaced(extractor: Extractor) -> None:
    await extractor.extract(MediaType.HTML, PAGE)
    [process] = extractor._idle
    os.kill(process._process.pid, signal.SIGKILL)
    await process._process.wait()
    assert (await extractor.extract(MediaType.HTML, PAGE)).title == "T"


async def test_closing_ends_the_processes() -> None:
    extractor = Extractor(processes=1)
    await extractor.extract(MediaType.HTML, PAGE)
    [process] = processes_of(extractor)
    await extractor.aclose()
    assert not is_alive(process)


async def test_a_process_that_hangs_is_killed_and_replaced(worker: StandIn) -> None:
    worker.does()
    extractor = Extractor(processes=1, seconds=1)
    with unusable("longer than 1 s"):
        await extractor.extract(MediaType.HTML, PAGE)
    assert worker.process is not None
    assert not is_alive(worker.process)
    assert processes_of(extractor) == []


async def test_a_job_that_is_given_up_ends_its_process(worker: StandIn) -> None:
    worker.does()
    extractor = Extractor(processes=1)
    reading = asyncio.create_task(extractor.extract(MediaType.HTML, PAGE))
    while worker.process is None:  # noqa: ASYNC110 # another process makes it
        await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert not is_alive(worker.process)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGXCPU)", "takes too long"),
        # It is silent a while before it is gone, as one that gives back much memory.
        ("os.close(1); time.sleep(0.2); os.kill(os.getpid(), signal.SIGXCPU)", "takes too long"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "damaged or too large"),
        ("sys.exit(1)", "damaged or too large"),
        ("say(b'nonsense\\n')", "damaged or too large"),
        ("say(b'90000000000 more\\n')", "damaged or too large"),
        ("say(b'9 more\\n{'); sys.exit(0)", "damaged or too large"),
    ],
    ids=["time", "time, slowly", "crash", "exit", "nonsense", "flood", "cut"],
)
async def test_a_process_that_does_not_survive_a_file_is_told_of(
    worker: StandIn, ending: str, words: str
) -> None:
    worker.does(ending)
    extractor = Extractor(processes=1)
    with unusable(words):
        await extractor.extract(MediaType.HTML, PAGE)
    assert processes_of(extractor) == []


async def test_a_process_that_does_not_start_is_no_fault_of_the_document(worker: StandIn) -> None:
    worker.does("raise SystemExit(3)", ready=False)
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(OverloadedError, match="try again"),
    ):
        await Extractor(processes=1).extract(MediaType.HTML, PAGE)
    (line,) = logs
    assert "exit code 3" in line["why"]


async def test_a_process_sees_nothing_of_the_environment(
    worker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    worker.does(
        "text = ' '.join(sorted(os.environ))",
        "found = {'text': text, 'title': '', 'markdown': True, 'pages': []}",
        "answer = json.dumps(found).encode()",
        "say(b'%d last\\n' % len(answer) + answer)",
        "sys.exit(0)",
    )
    found = await Extractor(processes=1).extract(MediaType.HTML, PAGE)
    assert set(found.text.split()) <= {"PYTHONPATH", "LC_CTYPE"}


async def test_a_process_that_says_it_ends_is_given_no_other_file(worker: StandIn) -> None:
    worker.does("say(b'13 last\\n{\"problem\":1}')")
    extractor = Extractor(processes=1)
    with unusable("1"):
        await extractor.extract(MediaType.HTML, PAGE)
    assert processes_of(extractor) == []


async def test_the_limits_of_a_process_hold(extractor: Extractor) -> None:
    await extractor.extract(MediaType.HTML, PAGE)
    [process] = processes_of(extractor)
    limits = limits_of(process)
    assert limits["Max address space"] == str(1024**3)
    assert limits["Max file size"] == "0"
    assert limits["Max core file size"] == "0"
    assert 30 <= int(limits["Max cpu time"]) <= 40


async def test_each_file_has_its_time_whatever_earlier_ones_took(extractor: Extractor) -> None:
    await extractor.extract(MediaType.HTML, PAGE)
    [process] = processes_of(extractor)
    first = int(limits_of(process)["Max cpu time"])
    while seconds_of(process) < first - 30 + 0.1:
        await extractor.extract(MediaType.HTML, b"<p>x" * 20_000)
    await extractor.extract(MediaType.HTML, PAGE)
    assert int(limits_of(process)["Max cpu time"]) > first


def test_what_is_said_is_understood() -> None:
    assert read_job_line(job_line(MediaType.PDF, 7)) == (MediaType.PDF, 7)
    assert read_answer_line(answer_line(7, last=True)) == (7, True)
    assert read_answer_line(answer_line(7, last=False)) == (7, False)
