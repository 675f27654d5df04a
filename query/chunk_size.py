"""How large passages may be, and are: what the embedding model takes decides."""

from config_core.capabilities import embedding_model
from config_core.effective import Target
from config_core.errors import InvalidArgumentError, Reason, Violation

MIN_TOKENS = 16
CONTEXT_TOKENS = 64
"""Left free for the names of document and section, and for the marks of the model."""
_UNKNOWN_MODEL_TOKENS = 512
_LARGEST_DEFAULT = 400


def chunk_tokens_of(asked: int | None, target: Target) -> int:
    """The most tokens of a passage; InvalidArgumentError where the model takes fewer.

    Absent means half of what the model takes, and at most 400: a vector of a longer text stands for
    too many things at once. Of a model that is not known no more than 512 tokens are expected.
    """
    known = embedding_model(target.connection.provider, target.model)
    most = (known.max_input_tokens if known else _UNKNOWN_MODEL_TOKENS) - CONTEXT_TOKENS
    if asked is None:
        return min(_LARGEST_DEFAULT, most // 2)
    if not MIN_TOKENS <= asked <= most:
        description = f"must be {MIN_TOKENS} to {most} with {target.model}"
        violation = Violation("options.chunk_tokens", description, Reason.INVALID_ARGUMENT)
        raise InvalidArgumentError([violation])
    return asked
