"""Turning pydantic's findings into pairs of path and reason, without the values that were found."""

from collections.abc import Iterable

from pydantic import ValidationError


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """Each problem as its dotted path and one sentence; never the input."""
    return [
        (_path(found["loc"]), _sentence(found["type"], found["msg"]))
        for found in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def _path(parts: Iterable[str | int]) -> str:
    """`a.b[0].c`, as protobuf and everybody else writes it."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "is not a known field"
    return message.removeprefix("Value error, ").replace("Input should be", "must be", 1)
