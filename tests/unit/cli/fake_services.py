"""A server that answers as the services would, with whatever a test puts into it.

It is a synchronous one: it runs in threads, while the command under test has its own event loop.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from cascada.agent_execution.v1 import agent_execution_service_pb2 as agent
from cascada.agent_execution.v1 import agent_execution_service_pb2_grpc as agent_grpc
from cascada.config.v1 import configuration_service_pb2 as configuration
from cascada.config.v1 import configuration_service_pb2_grpc as configuration_grpc
from cascada.query.v1 import document_pb2
from cascada.query.v1 import query_service_pb2 as query
from cascada.query.v1 import query_service_pb2_grpc as query_grpc
from grpc_status import rpc_status
from typer.testing import CliRunner, Result

from cli.__main__ import build
from config_core.errors import CascadaError, CollectionNotFoundError
from service_core.status import to_status


class FakeServices:
    """All calls in one place: what came in, and what to answer."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.error: CascadaError | None = None
        self.answer = agent.ExecuteResponse(answer="whole")
        self.events: list[agent.StreamExecuteResponse] = []
        self.results: list[query.IndexDocumentsResponse] = []
        self.stored: dict[str, str] = {}
        """The sources of the documents in the one collection, by id."""
        self.hits = query.SearchResponse()
        self.resolved = configuration.ResolveConfigurationResponse()
        self.capabilities = configuration.ListCapabilitiesResponse()

    def Execute(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take(request, context)
        return self.answer

    def StreamExecute(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._take(request, context)
        yield from self.events

    def Search(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take(request, context)
        return self.hits

    def IndexDocuments(self, requests: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for request in requests:
            self.requests.append(request)
        yield from self.results
        self._fail(context)

    def ListDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not self.stored:
            self.error = self.error or CollectionNotFoundError(request.collection)
        self._take(request, context)
        rest = sorted(name for name in self.stored if name > request.page_token)
        page, more = rest[: request.page_size], rest[request.page_size :]
        described = [
            document_pb2.DocumentDescription(document_id=name, source=self.stored[name])
            for name in page
        ]
        token = page[-1] if more else ""
        return query.ListDocumentsResponse(documents=described, next_page_token=token)

    def DeleteDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take(request, context)
        for name in request.document_ids:
            del self.stored[name]
        return query.DeleteDocumentsResponse(deleted_document_ids=request.document_ids)

    def ResolveConfiguration(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take(request, context)
        return self.resolved

    def ListCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take(request, context)
        return self.capabilities

    def __getattr__(self, name: str) -> Any:
        # The calls that no command makes.
        if name[:1].isupper():
            return None
        raise AttributeError(name)

    def _take(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self._fail(context)

    def _fail(self, context: Any) -> None:
        if self.error is not None:
            context.abort_with_status(rpc_status.to_status(to_status(self.error)))


@contextmanager
def serving(services: FakeServices) -> Iterator[str]:
    """Serves for the block; gives the target."""
    server: Any = grpc.server(ThreadPoolExecutor(2))
    fake: Any = services
    agent_grpc.add_AgentExecutionServiceServicer_to_server(fake, server)
    query_grpc.add_QueryServiceServicer_to_server(fake, server)
    configuration_grpc.add_ConfigurationServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class CommandLine:
    """Runs commands against the fake services."""

    def __init__(self, fake: FakeServices, target: str) -> None:
        self.fake = fake
        self.target = target

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """Runs a command with --target."""
        return self.bare(*arguments, "--target", self.target, stdin=stdin)

    def bare(self, *arguments: str, stdin: str | None = None) -> Result:
        """Runs a command as it is given."""
        return CliRunner().invoke(build(arguments), list(arguments), input=stdin)
