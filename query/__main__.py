"""`python -m query`: the query service alone."""

from query.app import build
from service_core.entry import main

if __name__ == "__main__":
    main(build)
