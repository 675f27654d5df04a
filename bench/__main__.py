"""`python -m bench`: every measurement, one after another; with names, only those."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

MEASUREMENTS: Mapping[str, str] = {
    "cold_start": "bench.cold_start",
    "cancel": "bench.cancel",
    "pool": "bench.pool",
    "evaluation": "bench.evaluation",
    "peers": "bench.cost.peers",
    "retrieval": "bench.retrieval",
    "resolution": "bench.resolution",
    "indexing": "bench.indexing",
    "growth": "bench.growth",
    "overload": "bench.overload",
}
"""What `make bench` measures: the modules by name, each with a `main`."""
QUICK = {"quick": "bench.cost.quick"}
"""What is part of another: the peers' measurement holds it."""


def main(names: Sequence[str]) -> None:
    """Run the named measurements, or all."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # it would tell of each child
    known = {**MEASUREMENTS, **QUICK}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"There is no measurement {unknown[0]!r}: take {', '.join(known)}.")
    for name in names or MEASUREMENTS:
        importlib.import_module(known[name]).main()


if __name__ == "__main__":
    main(sys.argv[1:])
