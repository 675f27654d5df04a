"""What has become of the documents of `cascada index`, and how that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cascada.common.v1 import error_reason_pb2
from cascada.query.v1 import document_pb2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.documents import Unreadable
from cli.exits import CommandError
from cli.messages import as_document
from cli.output import Output


@dataclass(slots=True)
class IndexProgress:
    """What has happened so far."""

    total: int
    failures: list[dict[str, str]] = field(default_factory=list)
    results: int = 0
    summary: document_pb2.IndexSummary | None = None
    removed: Sequence[str] = ()

    def fail(self, document_id: str, detail: str, reason: str = "UNREADABLE") -> None:
        """Note a document, or a place, of which nothing was indexed."""
        self.failures.append({"document_id": document_id, "reason": reason, "detail": detail})

    def note_unreadable(self, places: Sequence[Unreadable]) -> None:
        """Note what could not be looked at."""
        for each in places:
            self.fail(each.place, each.reason)

    def take(self, result: document_pb2.DocumentResult) -> None:
        """Note the result of a document."""
        self.results += 1
        if result.outcome == document_pb2.DOCUMENT_OUTCOME_FAILED:
            reason = error_reason_pb2.ErrorReason.Name(result.reason)
            self.fail(result.document_id, result.detail, reason.removeprefix("ERROR_REASON_"))

    def broken_off(self, error: CommandError) -> CommandError:
        """The same failure, and how far indexing came before it."""
        if not self.results:
            return error
        return CommandError(
            f"{error.message} {self.results} of {self.total} documents were dealt with before; run "
            "the command again: what is stored is not embedded again.",
            error.exit_code,
            details={**error.details, "documents_done": self.results},
            notes=error.notes,
        )

    def show(self, collection: str, output: Output) -> None:
        """Write the result of the command; CommandError where there is none."""
        summary = self.summary
        if summary is None:
            raise CommandError(
                "The service ended the stream without a summary: run the command again.",
                details={"code": "UNAVAILABLE", "reason": "STREAM_INTERRUPTED"},
            )
        counts = {
            "indexed": summary.indexed,
            "unchanged": summary.unchanged,
            "failed": len(self.failures),
            "chunks": summary.chunks,
        }
        if output.as_json:
            document: dict[str, Any] = {"collection": collection, **counts}
            document["failures"] = self.failures
            document["removed"] = list(self.removed)
            document["usage"] = as_document(summary.usage)
            document["configuration_trace"] = as_document(summary.configuration_trace)
            output.document(document)
            return
        for failure in self.failures:
            output.line(
                f"failed  {failure['document_id']}: {failure['detail']} ({failure['reason']})"
            )
        for document_id in self.removed:
            output.line(f"removed {document_id}")
        removed = f", {len(self.removed)} removed" if self.removed else ""
        output.line(
            f"{collection}: {counts['indexed']} indexed, {counts['unchanged']} unchanged, "
            f"{counts['failed']} failed{removed}, {counts['chunks']} passages written"
        )


def progress_bar(output: Output) -> Progress:
    """A bar over all documents, on a terminal."""
    return Progress(
        TextColumn("Indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=output.progress_console,
        transient=True,
        disable=not output.interactive,
    )
