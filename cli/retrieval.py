"""Builds the retrieval part of a request from a command's options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from cascada.common.v1 import retrieval_pb2

from cli.exits import CommandError, ExitCode
from cli.options import Mode

_MODES: Mapping[Mode, retrieval_pb2.RetrievalMode.ValueType] = {
    Mode.DENSE: retrieval_pb2.RETRIEVAL_MODE_DENSE,
    Mode.FULL_TEXT: retrieval_pb2.RETRIEVAL_MODE_FULL_TEXT,
    Mode.HYBRID: retrieval_pb2.RETRIEVAL_MODE_HYBRID,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How a command line says to search; None leaves it to the service."""

    top_k: int | None = None
    threshold: float | None = None
    mode: Mode | None = None
    mmr: float | None = None
    neighbours: int | None = None
    rerank: bool | None = None


def retrieval(collections: Sequence[str], how: SearchOptions) -> retrieval_pb2.Retrieval | None:
    """What to search; None without a collection."""
    if not collections:
        for option in fields(how):
            if getattr(how, option.name) is not None:
                raise CommandError(
                    f"--{option.name.replace('_', '-')} says how to search: name a --collection to "
                    "search.",
                    ExitCode.USAGE,
                )
        return None
    message = retrieval_pb2.Retrieval(
        collections=collections,
        similarity_threshold=how.threshold,
        mode=_MODES[how.mode] if how.mode else retrieval_pb2.RETRIEVAL_MODE_UNSPECIFIED,
        mmr_lambda=how.mmr,
        rerank=how.rerank,
    )
    for name in ("top_k", "neighbours"):
        value = getattr(how, name)
        if value is None:
            continue
        try:
            setattr(message, name, value)
        except ValueError:  # an int32 has its limits
            raise CommandError(
                f"--{name.replace('_', '-')} is out of range.", ExitCode.USAGE
            ) from None
    return message
