"""Retrieval and chat through Haystack's pipeline.

Arguments: a folder, the provider's port, how many requests, how many at once.
"""

import asyncio
import random
import sys

# A driver has the name of its library, which has to be found first.
sys.path.append(sys.path.pop(0))

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from measuring import report

CHUNKS = 1000
DIMENSIONS = 384
QUESTION = "Which river flows through the town?"
TEMPLATE = "From {% for d in documents %}{{ d.content }} {% endfor %} answer: {{question}}"


async def main(_: str, port: str, count: str, at_once: str) -> None:
    """Measure."""
    rng = random.Random(7)
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    text = "The river number {0} flows through the town number {0}."
    store.write_documents(
        [
            Document(
                content=text.format(number),
                embedding=[rng.gauss(0, 1) for _ in range(DIMENSIONS)],
            )
            for number in range(CHUNKS)
        ]
    )
    url, key = f"http://127.0.0.1:{port}/v1", Secret.from_token("sk-bench")
    pipeline = Pipeline()
    pipeline.add_component("embedder", OpenAITextEmbedder(api_base_url=url, api_key=key))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=5))
    pipeline.add_component("prompt", ChatPromptBuilder([ChatMessage.from_user(TEMPLATE)]))
    pipeline.add_component(
        "chat", OpenAIChatGenerator(api_base_url=url, api_key=key, model="bench-model")
    )
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "chat.messages")

    async def request() -> object:
        return await pipeline.run_async(
            {"embedder": {"text": QUESTION}, "prompt": {"question": QUESTION}}
        )

    await report(request, int(count), int(at_once))


asyncio.run(main(*sys.argv[1:]))
