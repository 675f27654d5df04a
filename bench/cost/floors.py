"""The floors: what gRPC on Python and a bare HTTP call cost without any of our work.

`python -m bench.cost.floors FOLDER PORT` serves QueryService with the messages of the folder. With
a port behind that, it passes everything on to it; with a URL, it asks that once for each request.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import uvloop
from cascada.query.v1 import query_service_pb2 as pb
from cascada.query.v1 import query_service_pb2_grpc as pb_grpc

from bench.cost.messages import load_answer, load_events

CHAT = {"model": "bench-model", "messages": [{"role": "user", "content": "hola"}]}

_Context = grpc.aio.ServicerContext[Any, Any]
_Query = Callable[[pb.QueryRequest, _Context], Awaitable[pb.QueryResponse]]
_Stream = Callable[[pb.StreamQueryRequest, _Context], AsyncIterator[pb.StreamQueryResponse]]


def _echo(folder: Path) -> tuple[_Query, _Stream]:
    """Answer with the folder's messages."""
    answer, events = load_answer(folder), load_events(folder)

    async def query(_: pb.QueryRequest, __: _Context) -> pb.QueryResponse:
        return answer

    async def stream(_: pb.StreamQueryRequest, __: _Context) -> AsyncIterator[Any]:
        for event in events:
            yield event

    return query, stream


def _relay(port: str) -> tuple[_Query, _Stream]:
    """Pass each call on."""
    stub = pb_grpc.QueryServiceStub(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

    async def query(request: pb.QueryRequest, _: _Context) -> pb.QueryResponse:
        return await stub.Query(request)

    async def stream(request: pb.StreamQueryRequest, _: _Context) -> AsyncIterator[Any]:
        async for event in stub.StreamQuery(request):
            yield event

    return query, stream


def _post(folder: Path, session: aiohttp.ClientSession, url: str) -> tuple[_Query, _Stream]:
    """Make a bare HTTP call a request: less an echo, that is the call's cost."""
    answer = load_answer(folder)

    async def query(_: pb.QueryRequest, __: _Context) -> pb.QueryResponse:
        async with session.post(url, json=CHAT) as response:
            await response.read()
        return answer

    async def stream(_: pb.StreamQueryRequest, __: _Context) -> AsyncIterator[Any]:
        async with session.post(url, json={**CHAT, "stream": True}) as response:
            async for _line in response.content:
                pass
        yield pb.StreamQueryResponse(completed=answer)

    return query, stream


async def _serve(folder: Path, port: int, behind: str) -> None:
    server = grpc.aio.server()
    async with aiohttp.ClientSession() as session:
        if not behind:
            query, stream = _echo(folder)
        elif behind.isdigit():
            query, stream = _relay(behind)
        else:
            query, stream = _post(folder, session, behind)
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Query": grpc.unary_unary_rpc_method_handler(
                query, pb.QueryRequest.FromString, pb.QueryResponse.SerializeToString
            ),
            "StreamQuery": grpc.unary_stream_rpc_method_handler(
                stream, pb.StreamQueryRequest.FromString, pb.StreamQueryResponse.SerializeToString
            ),
        }
        name = pb.DESCRIPTOR.services_by_name["QueryService"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await asyncio.get_running_loop().create_future()


def main(folder: str, port: str, behind: str = "") -> None:
    """Serve until killed."""
    uvloop.run(_serve(Path(folder), int(port), behind))


if __name__ == "__main__":
    main(*sys.argv[1:])
