"""The prompt template, as the query service reads it when it starts."""

from pathlib import Path

import pytest
from cascada.common.v1 import retrieval_pb2
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1.query_service_pb2_grpc import QueryServiceStub

from config_core.errors import ConfigurationFileError
from config_core.model_configuration import ModelProvider
from embedding import app as embedding_app
from query import app
from tests.unit.service_core.running import running
from tests.upstream.server import UpstreamServer


def environ_with(folder: Path, template: str) -> dict[str, str]:
    """The environment of a service whose template this is."""
    file = folder / "template.txt"
    file.write_text(template, encoding="utf-8")
    return {"CASCADA_DATA_DIR": str(folder), "CASCADA_PROMPT_TEMPLATE_FILE": str(file)}


async def test_a_template_that_is_none_keeps_the_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFileError, match=r"CASCADA_PROMPT_TEMPLATE_FILE.*\{passages\}"):
        async with running(app.build, environ_with(tmp_path, "Hello")):
            pass


async def test_passages_are_given_in_the_template_and_it_is_read_once(tmp_path: Path) -> None:
    environ = environ_with(tmp_path, "Answer in verse. {boundary}: {passages}")
    async with UpstreamServer() as upstream, running(embedding_app.build, environ) as embedding:
        environ |= {
            "CASCADA_EMBEDDING_TARGET": f"127.0.0.1:{embedding.port}",
            "OPENAI_API_KEY": "sk-0123456789",
            "OPENAI_BASE_URL": upstream.url(ModelProvider.OPENAI),
            "CASCADA_CHAT_PROVIDER": "openai",
        }
        async with running(app.build, environ) as service:
            stub = QueryServiceStub(service.channel)
            parts = [
                pb.IndexDocumentsRequest(options=document_pb2.IndexOptions(collection="c")),
                pb.IndexDocumentsRequest(
                    document=document_pb2.Document(document_id="d", text="Madrid.")
                ),
            ]
            assert [answer async for answer in stub.IndexDocuments(iter(parts))]
            environ_with(tmp_path, "Changed. {boundary}: {passages}")
            retrieval = retrieval_pb2.Retrieval(collections=["c"])
            await stub.Query(pb.QueryRequest(message="?", retrieval=retrieval))
    system = upstream.requests[-1].body["messages"][0]["content"]
    assert system.startswith("Answer in verse. ==")
    assert "[1]\nMadrid.\n==" in system
