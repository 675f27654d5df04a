import pytest

from config_core.errors import InvalidArgumentError, Reason
from query.chunk_size import chunk_tokens_of
from tests.unit.config_core.support import embedding, snapshot

E5 = {"embedding_provider": "local"}
LARGE = {"embedding_provider": "openai", "embedding_model": "text-embedding-3-small"}
UNKNOWN = {"embedding_provider": "openai", "embedding_model": "tiny"}


def size(asked: int | None, model: dict[str, str]) -> int:
    service = snapshot(environ={"OPENAI_API_KEY": "sk-openai"})
    return chunk_tokens_of(asked, embedding(service, model).primary)


def test_the_default_is_half_of_what_a_model_takes_and_at_most_400() -> None:
    assert (size(None, E5), size(None, LARGE), size(None, UNKNOWN)) == (224, 400, 224)


@pytest.mark.parametrize(("model", "most"), [(E5, 448), (LARGE, 8128), (UNKNOWN, 448)])
def test_passages_may_be_as_large_as_the_model_takes(model: dict[str, str], most: int) -> None:
    assert (size(16, model), size(most, model)) == (16, most)
    for wrong in (15, 0, -1, most + 1):
        with pytest.raises(InvalidArgumentError) as caught:
            size(wrong, model)
        [violation] = caught.value.violations
        assert (violation.field, violation.reason) == (
            "options.chunk_tokens",
            Reason.INVALID_ARGUMENT,
        )
        assert f"must be 16 to {most} with " in violation.description
