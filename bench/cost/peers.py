"""Cascada, the floors and the peers in one go: writes bench/RESULTS.md and its plots."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import uvloop

from bench.cost import plan, report, works
from bench.cost.figures import Figures
from bench.cost.first_token import measured as first_token_of
from bench.cost.report import Ratio
from bench.pages import stamp
from bench.peers import environments, gateways
from bench.peers.embedded import drive

CONCURRENCIES = (1, 32)
RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"
PLOTS = RESULTS.parent / "plots"

_PEER_WHOLE = 600
_PEER_STREAMED = 60


def main() -> None:
    """Measure everything, print it and write the results."""
    figures, first_token = uvloop.run(_measured())
    parts = [_HEAD.format(stamp=stamp())]
    PLOTS.mkdir(exist_ok=True)
    for at_once, each in figures.items():
        ratios = [*plan.ratios(each), *_peer_ratios(each)]
        title = f"{at_once} at once"
        report.show(title, each, ratios)
        parts += [f"## {title}\n", report.markdown(each), report.ratio_table(ratios)]
        for stream in (False, True):
            chosen = {n: f.cpu_milliseconds for n, f in each.items() if ("stream" in n) is stream}
            name = f"cpu-{at_once}{'-stream' if stream else ''}.svg"
            label = f"CPU milliseconds a {'stream' if stream else 'request'}, {title}"
            (PLOTS / name).write_text(report.bars(label, chosen), "utf-8")
            parts.append(f"![{label}](plots/{name})\n")
    straight, through = first_token
    parts.append(_FIRST.format(straight=straight, through=through, later=through - straight))
    RESULTS.write_text("\n".join(parts), "utf-8")


_FIRST = """## First token

One stream at a time, p50: {straight:.2f} ms straight from the provider, {through:.2f} ms through
agent execution and query; {later:.2f} ms later (target: 3).
"""

_HEAD = """# What a request costs

Written by `make bench ARGS=peers` on {stamp}. Everything ran side by side in one go,
against one canned provider on the same machine. CPU is user and system time of the whole process
trees that serve a request, without the client and the provider; for TensorZero's embedded gateway
and for Haystack, which are libraries, it is that of the process that calls them. CPU a request is
the figure that holds on a noisy machine; throughput and latency depend on what else it does.
Where bare calls, which do nothing of ours, are already above a target, no service on grpc.aio and
aiohttp can meet it.
"""


async def _measured() -> tuple[dict[int, dict[str, Figures]], tuple[float, float]]:
    await environments.prepare()
    measured: dict[int, dict[str, Figures]] = {}
    for at_once in CONCURRENCIES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            async with works.upstream() as provider:
                await works.record(folder, provider)
                planned = [*plan.floors(folder, provider), *plan.ours(folder, provider)]
                planned += _peers(folder, provider)
                figures = await plan.run(planned, at_once)
                for library, title in (("tensorzero", "TensorZero"), ("haystack", "Haystack")):
                    figures[f"{title}, embedded"] = await drive(
                        library, folder, provider, count=_PEER_WHOLE, at_once=at_once
                    )
                measured[at_once] = figures
                first_token = await first_token_of(folder, provider)
    return measured, first_token


def _peers(folder: Path, provider: int) -> list[plan.Planned]:
    litellm, portkey = gateways.litellm, gateways.portkey
    return [
        plan.Planned("LiteLLM", _PEER_WHOLE, lambda: litellm(folder, provider)),
        plan.Planned(
            "LiteLLM, stream", _PEER_STREAMED, lambda: litellm(folder, provider, stream=True)
        ),
        plan.Planned("Portkey", _PEER_WHOLE, lambda: portkey(folder, provider)),
    ]


def _peer_ratios(figures: Mapping[str, Figures]) -> list[Ratio]:
    cpu = {name: each.cpu_milliseconds for name, each in figures.items()}
    query, bare = cpu["Cascada: query"], cpu["floor: echo and POST"]
    haystack = cpu["Haystack, embedded"]
    ratios = [
        Ratio(f"query / {peer}", query / cpu[peer], target, bare / cpu[peer])
        for peer, target in (("LiteLLM", 1 / 15), ("Portkey", 2 / 3), ("TensorZero, embedded", 2.0))
    ]
    cascade, bare = cpu["Cascada: cascade"], plan.bare_cascade(figures)
    return [*ratios, Ratio("cascade / Haystack", cascade / haystack, 1 / 8, bare / haystack)]
