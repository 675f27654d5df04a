"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Mode(StrEnum):
    """How passages are found."""

    DENSE = "dense"
    FULL_TEXT = "full-text"
    HYBRID = "hybrid"


class Service(StrEnum):
    """One of the services."""

    AGENT_EXECUTION = "agent-execution"
    QUERY = "query"
    EMBEDDING = "embedding"


_CHAT, _EMBEDDING = "Chat", "Embedding"
_RETRIEVAL, _CALL = "Retrieval", "Call"

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output.")]

Target = Annotated[
    str | None,
    typer.Option(
        help="Where the service listens, such as localhost:50051 or unix:/run/cascada. Without it "
        "the default port is tried, then the services are started inside this command.",
        rich_help_panel=_CALL,
    ),
]
Tenant = Annotated[
    str, typer.Option(help="The tenant to act for; `default` if left out.", rich_help_panel=_CALL)
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=3600,
        help="Limit for the whole operation in seconds.",
        rich_help_panel=_CALL,
    ),
]
ConfigJson = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|@FILE|-",
        help="A model configuration with any of its fields, in the form of the configuration file: "
        "inline, from a file or from standard input. Keys are taken from the last two only.",
        rich_help_panel=_CALL,
    ),
]

Provider = Annotated[
    str | None,
    typer.Option(help="Who serves chat: openai, groq, mistral or local.", rich_help_panel=_CHAT),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        help="A registered endpoint for chat; it implies its provider.", rich_help_panel=_CHAT
    ),
]
Model = Annotated[str | None, typer.Option(help="The chat model.", rich_help_panel=_CHAT)]
Temperature = Annotated[
    float | None, typer.Option(help="Sampling temperature, 0 to 2.", rich_help_panel=_CHAT)
]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="The most tokens that the answer may have.", rich_help_panel=_CHAT),
]
ChatKeyVariable = Annotated[
    str | None,
    typer.Option(
        "--chat-api-key-env",
        metavar="VARIABLE",
        help="The environment variable that holds your own key for --provider or --endpoint.",
        rich_help_panel=_CHAT,
    ),
]

EmbeddingProvider = Annotated[
    str | None,
    typer.Option(
        help="Who serves embeddings: openai, mistral or local.", rich_help_panel=_EMBEDDING
    ),
]
EmbeddingEndpoint = Annotated[
    str | None,
    typer.Option(
        help="A registered endpoint for embeddings; it implies its provider.",
        rich_help_panel=_EMBEDDING,
    ),
]
EmbeddingModel = Annotated[
    str | None, typer.Option(help="The embedding model.", rich_help_panel=_EMBEDDING)
]
EmbeddingDimensions = Annotated[
    int | None,
    typer.Option(
        help="Length of a vector, where the model lets one choose.", rich_help_panel=_EMBEDDING
    ),
]
EmbeddingKeyVariable = Annotated[
    str | None,
    typer.Option(
        "--embedding-api-key-env",
        metavar="VARIABLE",
        help="The environment variable that holds your own key for the embedding provider or "
        "endpoint.",
        rich_help_panel=_EMBEDDING,
    ),
]

Collections = Annotated[
    list[str],
    typer.Option(
        "--collection",
        "-c",
        metavar="NAME",
        help="A collection to search; may be given several times.",
        rich_help_panel=_RETRIEVAL,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(help="How many passages to find; 5 if left out.", rich_help_panel=_RETRIEVAL),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Drop passages whose cosine similarity is below it, -1 to 1.",
        rich_help_panel=_RETRIEVAL,
    ),
]
SearchMode = Annotated[
    Mode | None,
    typer.Option("--mode", help="How to search; hybrid if left out.", rich_help_panel=_RETRIEVAL),
]
Mmr = Annotated[
    float | None,
    typer.Option(
        metavar="LAMBDA",
        help="Choose passages that add something to those before them: 1 weighs relevance alone, "
        "0 only the difference.",
        rich_help_panel=_RETRIEVAL,
    ),
]
Neighbours = Annotated[
    int | None,
    typer.Option(
        help="How many passages before and after each are joined to it, up to 5.",
        rich_help_panel=_RETRIEVAL,
    ),
]
Rerank = Annotated[
    bool | None,
    typer.Option(
        "--rerank/--no-rerank",
        help="Have the chat model order the best candidates.",
        rich_help_panel=_RETRIEVAL,
        show_default=False,
    ),
]
