"""Token counts, as a provider reports them."""

from dataclasses import dataclass

_MOST = 2**31 - 1
"""What a message can carry."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one operation; 0 where the provider reports none."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            min(_MOST, self.input_tokens + other.input_tokens),
            min(_MOST, self.output_tokens + other.output_tokens),
        )


def reported_tokens(value: object) -> int:
    """A provider's count; 0 for what can not be one."""
    return value if type(value) is int and 0 < value <= _MOST else 0
