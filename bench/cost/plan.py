"""Which works are measured, how often, and the ratios that they are judged by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.cost import works
from bench.cost.figures import Figures, measure
from bench.cost.report import Ratio

WHOLE = 1500
"""How many requests for whole answers are measured; a fifth as many go before."""
STREAMED = 150


@dataclass(frozen=True, slots=True)
class Planned:
    """One work of the plan; `make` makes it ready."""

    name: str
    count: int
    make: Callable[[], works.Work]


def floors(folder: Path, provider: int) -> list[Planned]:
    """What gRPC and HTTP cost on Python without any of our work."""
    return [
        Planned("floor: echo, 1 hop", WHOLE, lambda: works.echo(folder, 1)),
        Planned("floor: echo, 2 hops", WHOLE, lambda: works.echo(folder, 2)),
        Planned("floor: echo, 3 hops", WHOLE, lambda: works.echo(folder, 3)),
        Planned("floor: echo and POST", WHOLE, lambda: works.bare_post(folder, provider)),
        Planned("floor: store's search", WHOLE, lambda: works.store_search(folder)),
        Planned("floor: stream, 1 hop", STREAMED, lambda: works.echo(folder, 1, stream=True)),
        Planned("floor: stream, 2 hops", STREAMED, lambda: works.echo(folder, 2, stream=True)),
        Planned(
            "floor: echo and SSE", STREAMED, lambda: works.bare_post(folder, provider, stream=True)
        ),
    ]


def ours(folder: Path, provider: int) -> list[Planned]:
    """Cascada's own works."""

    def in_place(name: str) -> Path:
        place = folder / name
        place.mkdir(exist_ok=True)
        return place

    return [
        Planned("Cascada: query", WHOLE, lambda: works.query_alone(in_place("q"), provider)),
        Planned("Cascada: agent, query", WHOLE, lambda: works.agent_and_query(folder, provider)),
        Planned(
            "Cascada: agent, query, stream",
            STREAMED,
            lambda: works.agent_and_query(folder, provider, stream=True),
        ),
        Planned("Cascada: cascade", WHOLE, lambda: works.cascade(in_place("three"), provider)),
        Planned(
            "Cascada: cascade, serve all",
            WHOLE,
            lambda: works.cascade(in_place("one"), provider, together=True),
        ),
        Planned(
            "Cascada: query, 1 tenant and key",
            WHOLE,
            lambda: works.query_of_tenants(in_place("t1"), provider, 1),
        ),
        Planned(
            "Cascada: query, 100 tenants and keys",
            WHOLE,
            lambda: works.query_of_tenants(in_place("t100"), provider, 100),
        ),
        Planned(
            "Cascada: query, 2,000 tenants and keys",
            WHOLE,
            lambda: works.query_of_tenants(in_place("t2000"), provider, 2000),
        ),
    ]


async def run(plan: list[Planned], at_once: int) -> dict[str, Figures]:
    """Measure one work after another."""
    figures: dict[str, Figures] = {}
    for each in plan:
        async with each.make() as ready:
            figures[each.name] = await measure(
                ready.request, ready.pids, count=each.count, at_once=at_once, warm=each.count // 5
            )
    return figures


def bare_cascade(figures: Mapping[str, Figures], hops: str = "3 hops") -> float:
    """CPU milliseconds of bare hops, two bare POSTs and the store's own search."""
    cpu = {name: each.cpu_milliseconds for name, each in figures.items()}
    post = cpu["floor: echo and POST"] - cpu["floor: echo, 1 hop"]
    return cpu[f"floor: echo, {hops}"] + 2 * post + cpu["floor: store's search"]


def ratios(figures: Mapping[str, Figures]) -> list[Ratio]:
    """The ratios to the floors."""
    cpu = {name: each.cpu_milliseconds for name, each in figures.items()}
    post = cpu["floor: echo and POST"] - cpu["floor: echo, 1 hop"]
    read = cpu["floor: echo and SSE"] - cpu["floor: echo, 1 hop"]
    two = cpu["floor: echo, 2 hops"] + post
    three = bare_cascade(figures)
    stream = cpu["floor: stream, 2 hops"] + read
    one, many = (
        cpu[f"Cascada: query, {n}"] for n in ("1 tenant and key", "2,000 tenants and keys")
    )
    cascade = cpu["Cascada: cascade"]
    return [
        Ratio("agent, query / (2 hops + POST)", cpu["Cascada: agent, query"] / two, 1.6, 1.0),
        Ratio("cascade / (3 hops + 2 POSTs + search)", cascade / three, 1.6, 1.0),
        Ratio(
            "serve all / three processes",
            cpu["Cascada: cascade, serve all"] / cascade,
            0.6,
            bare_cascade(figures, "1 hop") / cascade,
        ),
        Ratio("stream / (2 hops + SSE)", cpu["Cascada: agent, query, stream"] / stream, 1.5, 1.0),
        Ratio("2,000 tenants and keys / 1", many / one, 1.1, 1.0),
    ]
