"""Removes the documents of a collection whose files have vanished."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc
from cascada.common.v1 import request_context_pb2
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from cli.client import deadline
from cli.documents import Found
from cli.exits import CommandError, ExitCode
from cli.output import Output
from config_core.errors import Reason
from service_core.status import from_status

_PAGE = 1000
_ABSENT = frozenset({Reason.COLLECTION_NOT_FOUND, Reason.DOCUMENT_NOT_FOUND})


class Pruning:
    """One collection and what was found of its files.

    A document has vanished exactly if its source lies under a folder that was given and is no file
    any more. Under a folder in which something could not be looked at none has.
    """

    def __init__(
        self,
        stub: QueryServiceStub,
        context: request_context_pb2.RequestContext,
        collection: str,
        found: Found,
    ) -> None:
        self._stub = stub
        self._context = context
        self._collection = collection
        self._sources = {file.source for file in found.files}
        self._folders = [Path(folder) for folder, errors in found.folders.items() if not errors]
        self._unsure = [folder for folder, errors in found.folders.items() if errors]

    def tell(self, output: Output) -> None:
        """Say where nothing is removed."""
        for folder in self._unsure:
            output.note(f"Nothing is removed under {folder}: not all of it could be looked at.")

    async def vanished(self) -> list[str]:
        """The ids of the documents that have vanished."""
        ids: list[str] = []
        token = ""
        while self._folders:
            page = await self._page(token)
            ids += [each.document_id for each in page.documents if self._has_vanished(each.source)]
            token = page.next_page_token
            if not token:
                break
        return ids

    async def remove(self, document_ids: Sequence[str]) -> None:
        """Remove documents; one that is gone already does no harm."""
        for start in range(0, len(document_ids), _PAGE):
            request = pb.DeleteDocumentsRequest(
                context=self._context,
                collection=self._collection,
                document_ids=document_ids[start : start + _PAGE],
            )
            try:
                await self._stub.DeleteDocuments(request, timeout=deadline(None))
            except grpc.aio.AioRpcError as error:
                _pass_over_absent(error)

    async def _page(self, token: str) -> pb.ListDocumentsResponse:
        request = pb.ListDocumentsRequest(
            context=self._context, collection=self._collection, page_size=_PAGE, page_token=token
        )
        try:
            return await self._stub.ListDocuments(request, timeout=deadline(None))
        except grpc.aio.AioRpcError as error:
            _pass_over_absent(error)
            return pb.ListDocumentsResponse()

    def _has_vanished(self, source: str) -> bool:
        path = Path(source)
        return (
            source not in self._sources
            and path.is_absolute()
            and os.path.normpath(source) == source
            and any(folder in path.parents for folder in self._folders)
            and _is_gone(path)
        )


def check_folders(found: Found) -> None:
    """Refuse to prune without a folder: a file or pattern does not say what else was there."""
    if not found.folders:
        raise CommandError(
            "--prune removes what has vanished from a folder: name the folder, not files or "
            "patterns alone.",
            ExitCode.USAGE,
        )


def _is_gone(path: Path) -> bool:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 # Path.is_file takes some errors for absence
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False  # it can't be looked at, so it may well be there
    return stat.S_ISDIR(mode)


def _pass_over_absent(error: grpc.aio.AioRpcError) -> None:
    if from_status(error, "query").code_reason not in _ABSENT:
        raise error
