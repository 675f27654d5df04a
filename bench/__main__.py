"""`python -m bench`: every measurement, one after another; with names, only those."""

import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence

MEASUREMENTS: Mapping[str, str] = {
    "cold_start": "bench.cold_start:main",
    "cancel": "bench.cancel:main",
    "pool": "bench.pool:main",
    "evaluation": "bench.evaluation:main",
    "peers": "bench.cost.peers:main",
    "retrieval": "bench.retrieval:main",
    "hop_profile": "bench.hop_profile:main",
    "resolution": "bench.resolution:main",
    "indexing": "bench.indexing:main",
    "growth": "bench.growth:main",
    "overload": "bench.overload:main",
}
"""What `make bench` measures: the functions by name."""
PARTS: Mapping[str, str] = {
    "quick": "bench.cost.quick:main",
    "retrieval-sqlite": "bench.retrieval:sqlite",
    "retrieval-postgresql": "bench.retrieval:postgresql",
}
"""What is part of another: `quick` of the peers' measurement."""


def main(names: Sequence[str]) -> None:
    """Run the named measurements, or all."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # it would tell of each child
    known = {**MEASUREMENTS, **PARTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"There is no measurement {unknown[0]!r}: take {', '.join(known)}.")
    for name in names or MEASUREMENTS:
        pkgutil.resolve_name(known[name])()


if __name__ == "__main__":
    main(sys.argv[1:])
