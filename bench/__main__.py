"""`python -m bench`: every measurement, one after another; with names, only those."""

import importlib
import sys
from collections.abc import Sequence

MEASUREMENTS = ("cold_start", "cancel", "pool", "evaluation")
"""The modules of this folder, each with a `main`."""


def main(names: Sequence[str]) -> None:
    """Run the named measurements, or all."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        sys.exit(f"There is no measurement {unknown[0]!r}: take {', '.join(MEASUREMENTS)}.")
    for name in names or MEASUREMENTS:
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
