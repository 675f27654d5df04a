"""The canned provider as a process of its own: `python -m tests.cluster.provider HOST PORT`."""

import asyncio
import sys

from aiohttp import web

from tests.upstream.behaviours import Answer
from tests.upstream.exchange import Behaviour, Received
from tests.upstream.server import UpstreamServer

SLOW = "slowly"
"""A question with this word is answered after `SLOW_SECONDS`."""
SLOW_SECONDS = 0.5

_QUICK, _SLOW = Answer(), Answer(delay=SLOW_SECONDS)


async def main(host: str, port: int) -> None:
    """Answer until the process ends."""
    server = UpstreamServer()

    def choose(received: Received) -> Behaviour:
        server.requests.clear()
        slow = received.operation != "embeddings" and SLOW in str(received.body["messages"])
        return _SLOW if slow else _QUICK

    server.choose = choose
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/{provider}/{path:.*}", server._handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    print("listens", flush=True)  # noqa: T201 # who started it waits for that
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
