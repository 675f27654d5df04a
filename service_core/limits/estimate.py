"""How many tokens a request may use, before anybody knows: rather too many than too few."""

from typing import Any

from config_core.snapshot import Snapshot

BYTES_PER_TOKEN = 3
PASSAGE_TOKENS = 250
"""Of one passage that a question is answered from."""
PASSAGES = 5
"""How many there are where a request does not say."""
RANKED = 4
"""How many times as many a chat model is given to order."""


def estimate(request: Any, tenant: str, snapshot: Snapshot) -> int | None:
    """The tokens of a request to a service that calls providers itself; `None` for one without any.

    Texts to embed count as they are long. A question counts with its passages and with the longest
    answer that it may have. Whatever else a request uses counts once it has.
    """
    fields = request.DESCRIPTOR.fields_by_name
    passages = _passages(request) if "retrieval" in fields else 0
    if "texts" in fields:
        answer = 0
    elif "message" in fields:
        answer = _longest_answer(request.model_configuration, tenant, snapshot)
    elif passages and request.retrieval.rerank:
        answer = 0
    else:
        return None
    return -(-int(request.ByteSize()) // BYTES_PER_TOKEN) + passages * PASSAGE_TOKENS + answer


def _passages(request: Any) -> int:
    if not request.HasField("retrieval"):
        return 0
    retrieval = request.retrieval
    passages = int(retrieval.top_k) if retrieval.HasField("top_k") else PASSAGES
    return passages * (1 + RANKED) if retrieval.rerank else passages


def _longest_answer(configuration: Any, tenant: str, snapshot: Snapshot) -> int:
    """`max_tokens` as it will be resolved, but for the ranks of what was forwarded."""
    rules = snapshot.rules(tenant)
    if rules.locks.max_tokens is not None:
        return rules.locks.max_tokens
    if configuration.HasField("max_tokens"):
        asked = int(configuration.max_tokens)
    else:
        layers = (layer.fields for layer in snapshot.operator_layers(tenant))
        asked = next((fields["max_tokens"] for fields in layers if "max_tokens" in fields), 0)
    bound = rules.bounds.get("max_tokens")
    return asked if bound is None else int(bound.clamp(asked))
