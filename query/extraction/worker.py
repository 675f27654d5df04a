"""A process that reads HTML and PDF, so that a hostile file harms nothing but this process.

`python -m query.extraction.worker` says READY, then takes files from standard input until its end,
each after its line. An answer is a line, and what was extracted, or the `problem`, as JSON.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from query.extraction.html import read_html
from query.extraction.model import Extracted, ExtractionError, MediaType
from query.extraction.pdf import read_pdf
from query.extraction.protocol import READY, answer_line, read_job_line

CPU_SECONDS = 30
MEMORY_BYTES = 1024**3
_KEPT_BYTES = 256 * 1024**2
"""A process that has needed more than this ends after its job, and gives it back."""

_READERS: Mapping[MediaType, Callable[[bytes], Extracted]] = MappingProxyType(
    {MediaType.HTML: read_html, MediaType.PDF: read_pdf}
)


def main() -> None:
    """Take jobs until there are no more."""
    jobs = sys.stdin.buffer
    # A library that prints must not write between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _limit()
        answers.write(READY)
        answers.flush()
        last = False
        while not last and (line := jobs.readline()):
            media_type, length = read_job_line(line)
            _limit_time()
            answer = json.dumps(_found(media_type, jobs.read(length))).encode()
            last = _peak_bytes() > _KEPT_BYTES
            answers.write(answer_line(len(answer), last=last) + answer)
            answers.flush()


def _found(media_type: MediaType, content: bytes) -> dict[str, object]:
    try:
        return asdict(_READERS[media_type](content))
    except ExtractionError as error:
        return {"problem": str(error)}
    except MemoryError:
        return {"problem": f"reading it takes over {MEMORY_BYTES >> 20} MiB of memory: split it"}


def _peak_bytes() -> int:
    """The most memory that this process has had; getrusage counts what started it as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _limit() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service decides when this process ends
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    """Let the next job have its seconds of the processor, not what earlier ones left."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + CPU_SECONDS, most))


if __name__ == "__main__":
    main()
